"""Model lines and releases."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from fleet import tables
from fleet.documents import read_document
from fleet.session import Json, Why, connected, one_line, print_json, show
from shared.attested import Attested
from shared.errors import RefusedError

models_app = typer.Typer(help="Model lines: what is trained, judged and rolled out, and how.")
releases_app = typer.Typer(help="Releases, and what is attested of them.")


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
