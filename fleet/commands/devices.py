"""Devices and the tokens that let them in."""

from __future__ import annotations

from typing import Annotated

import typer

from fleet import tables
from fleet.session import Json, Why, connected, show

device_app = typer.Typer(no_args_is_help=True, help="One device.")
token_app = typer.Typer(no_args_is_help=True, help="Enrolment tokens.")


def devices(context: typer.Context, as_json: Json = False) -> None:
    """List devices, what they run, how long their certificates last, and alarms."""
    with connected(context) as client:
        found = client.devices()
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
    reason: Why = "",
    as_json: Json = False,
) -> None:
    """Make a token that lets one device enrol, once. It is shown here and never again."""
    with connected(context) as client:
        issued = client.create_token(
            device=device, fleet=fleet, ttl_s=hours * 3600, key_sha256=key_sha256, reason=reason
        )
        show(issued, [], as_json=as_json)
        if not as_json:
            typer.echo(issued.token)
