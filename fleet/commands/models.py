"""Model lines, releases, and their way to the devices."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from fleet import tables
from fleet.session import Json, Why, connected, one_line, print_json, show
from shared.api import RolloutRequest
from shared.attested import Attested
from shared.errors import RefusedError

models_app = typer.Typer(help="Model lines: what is trained, judged and rolled out, and how.")
releases_app = typer.Typer(help="Releases, and what is attested of them.")
rollouts_app = typer.Typer(help="Rollouts.")


@models_app.callback(invoke_without_command=True)
def models(context: typer.Context, as_json: Json = False) -> None:
    """List model lines."""
    if context.invoked_subcommand is not None:
        return
    with connected(context) as client:
        found = client.models()
        rows = [
            (line.name, line.document.get("task") or "imported", ", ".join(line.document.get("fleets", [])))
            for line in found
        ]
        show(found, tables.table("Model lines", ("model", "task", "fleets"), rows), as_json=as_json)


@models_app.command(epilog="Example: hinterland models apply -f activity.toml")
def apply(
    context: typer.Context,
    file: Annotated[Path, typer.Option("-f", "--file", help="TOML or JSON document of the line.")],
    reason: Why = "",
    as_json: Json = False,
) -> None:
    """Create or replace a model line."""
    with one_line():
        document = read_document(file)
    with connected(context) as client:
        line = client.apply_model(document, reason=reason)
        if as_json:
            print_json(line)
        else:
            typer.echo(f"{line.name} is applied.")


@releases_app.callback(invoke_without_command=True)
def releases(
    context: typer.Context,
    model: Annotated[str | None, typer.Option(help="Only this model line.")] = None,
    as_json: Json = False,
) -> None:
    """List releases with their variants."""
    if context.invoked_subcommand is not None:
        return
    with connected(context) as client:
        found = client.releases(model=model)
        show(found, tables.releases(found), as_json=as_json)


@releases_app.command(epilog="Example: hinterland releases attestations activity-1 --export papers/")
def attestations(
    context: typer.Context,
    release: Annotated[str, typer.Argument(help="Which, for example activity-1.")],
    export: Annotated[Path | None, typer.Option(help="Folder to write each envelope to, for other tools.")] = None,
    as_json: Json = False,
) -> None:
    """Show what is attested of a release: how it came to be, how good it is, what is in it."""
    with connected(context) as client:
        found = client.attestations(release)
        if export is not None:
            _export(found, export)
        show(found, tables.attestations(release, found), as_json=as_json)


def _export(found: Sequence[Attested], folder: Path) -> None:
    """One file an attestation, named as in-toto names them: an envelope a line."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for one in found:
            (folder / f"{one.kind}-{one.attestor[:12]}.intoto.jsonl").write_text(f"{one.envelope}\n")
    except OSError as error:
        raise RefusedError(
            f"{folder} cannot be written: {error.strerror}", hint="Name a folder of yours with --export."
        ) from error


@rollouts_app.callback(invoke_without_command=True)
def rollouts(context: typer.Context, as_json: Json = False) -> None:
    """List rollouts."""
    if context.invoked_subcommand is not None:
        return
    with connected(context) as client:
        found = client.rollouts()
        show(found, tables.rollouts(found), as_json=as_json)


@rollouts_app.command(epilog="Example: hinterland rollouts start activity-2 --fleet wards --canary watch-1")
def start(
    context: typer.Context,
    release: Annotated[str, typer.Argument(help="What to bring.")],
    fleet: Annotated[str, typer.Option(help="Where; the coordinator's first fleet when left out.")] = "",
    canary: Annotated[list[str] | None, typer.Option(help="A device of the first wave; may be repeated.")] = None,
    reason: Annotated[str, typer.Option(help="For the audit log.")] = "",
) -> None:
    """Bring a release to a fleet, canaries first."""
    with connected(context) as client:
        request = RolloutRequest(release=release, fleet=fleet, canaries=canary or None, reason=reason)
        typer.echo(f"{client.start_rollout(request).id} is under way.")


def read_document(file: Path) -> dict[str, Any]:
    """A TOML or JSON document with a name.

    Raises:
        RefusedError: it cannot be read, or has no name.
    """
    try:
        text = file.read_text()
        document = json.loads(text) if file.suffix == ".json" else tomllib.loads(text)
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, tomllib.TOMLDecodeError) as error:
        raise RefusedError(
            f"{file} cannot be read: {error}", hint="Give a TOML file, or JSON in a .json file."
        ) from error
    if not isinstance(document, dict) or not isinstance(document.get("name"), str):
        raise RefusedError(f"{file} names no model line", hint='Begin it with `name = "…"`.')
    return document
