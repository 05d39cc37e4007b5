"""Devices and the tokens that let them in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from fleet import tables
from fleet.session import Json, Why, connected, show
from shared.errors import RefusedError

device_app = typer.Typer(no_args_is_help=True, help="One device.")
token_app = typer.Typer(no_args_is_help=True, help="Enrolment tokens.")


def devices(
    context: typer.Context,
    label: Annotated[
        list[str] | None, typer.Option(help="Only those with this, e.g. site=hamburg; repeatable.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List devices, what they run, how long their certificates last, and alarms."""
    with connected(context) as client:
        wanted = read_labels(label or [])
        found = [one for one in client.devices() if wanted.items() <= one.labels.items()]
        show(found, tables.devices(found), as_json=as_json)


@device_app.command("show", epilog="Example: hinterland device show watch-1")
def show_one(
    context: typer.Context, device: Annotated[str, typer.Argument(help="Its name.")], as_json: Json = False
) -> None:
    """Show one device: its state, its certificate, alarms, and what it runs."""
    with connected(context) as client:
        found = client.device(device)
        show(found, tables.device(found), as_json=as_json)


@device_app.command(epilog="Example: hinterland device why watch-1")
def why(
    context: typer.Context, device: Annotated[str, typer.Argument(help="Its name.")], as_json: Json = False
) -> None:
    """Explain why a device runs what it runs: from data to signature to live figures."""
    with connected(context) as client:
        found = client.why(device)
        show(found, tables.lineage(found), as_json=as_json)


@device_app.command("label", epilog="Example: hinterland device label watch-1 site=hamburg line=3 old-")
def change_labels(
    context: typer.Context,
    device: Annotated[str, typer.Argument(help="Its name.")],
    changes: Annotated[list[str], typer.Argument(help="key=value to set, key- to remove.")],
    reason: Why = "",
    as_json: Json = False,
) -> None:
    """Call a device by something, so that rollouts can find it; `site` says where it stands."""
    with connected(context) as client:
        removed = {change[:-1] for change in changes if change.endswith("-") and "=" not in change}
        added = read_labels([change for change in changes if change.removesuffix("-") not in removed])
        held = client.device(device).labels
        labels = {key: value for key, value in {**held, **added}.items() if key not in removed}
        found = client.label(device, labels, reason=reason)
        show(found, tables.device(found), as_json=as_json)


def read_labels(texts: Sequence[str]) -> dict[str, str]:
    """Labels from `key=value`.

    Raises:
        RefusedError: one has no value.
    """
    pairs = [text.partition("=") for text in texts]
    for text, (key, _, value) in zip(texts, pairs, strict=True):
        if not key or not value:
            raise RefusedError(f"{text!r} is no label", hint="Give key=value, for example site=hamburg.")
    return {key: value for key, _, value in pairs}


@device_app.command(epilog="Example: hinterland device revoke watch-1 --reason stolen")
def revoke(
    context: typer.Context,
    device: Annotated[str, typer.Argument(help="Its name.")],
    reason: Annotated[str, typer.Option(help="For the audit log.")],
) -> None:
    """Shut a device out: broker, federated engine, renewal, rescue."""
    with connected(context) as client:
        client.revoke(device, reason=reason)
        typer.echo(f"{device} is shut out.")


@token_app.command(epilog="Example: hinterland token create --device watch-1 --fleet wards > token")
def create(  # noqa: PLR0917  typer makes options of them, which have names
    context: typer.Context,
    device: Annotated[str, typer.Option(help="Name the device will get; made up when left out.")] = "",
    fleet: Annotated[str, typer.Option(help="Fleet it will belong to; the coordinator's first when left out.")] = "",
    hours: Annotated[float, typer.Option(help="How long the token is good for.", min=0.01)] = 24.0,
    key_sha256: Annotated[
        str, typer.Option(help="Only this key may use it: what `hinterland-agent key` prints on the device.")
    ] = "",
    label: Annotated[
        list[str] | None, typer.Option(help="A label of the device, e.g. site=hamburg; repeatable.")
    ] = None,
    reason: Why = "",
    as_json: Json = False,
) -> None:
    """Make a token that lets one device enrol, once. It is shown here and never again."""
    with connected(context) as client:
        issued = client.create_token(
            device=device,
            fleet=fleet,
            ttl_s=hours * 3600,
            key_sha256=key_sha256,
            reason=reason,
            labels=read_labels(label or []),
        )
        show(issued, [], as_json=as_json)
        if not as_json:
            typer.echo(issued.token)
