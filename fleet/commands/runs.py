"""Federated runs."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from fleet import tables
from fleet.client import Client
from fleet.session import Json, connected, print_json, show
from shared.api import Run, RunRequest
from shared.errors import RefusedError

runs_app = typer.Typer(help="Federated runs.")

OVER = frozenset({"released", "rejected", "failed"})
POLL_S = 1.0


@runs_app.callback(invoke_without_command=True)
def runs(
    context: typer.Context,
    model: Annotated[str | None, typer.Option(help="Only this model line.")] = None,
    as_json: Json = False,
) -> None:
    """List runs."""
    if context.invoked_subcommand is not None:
        return
    with connected(context) as client:
        found = client.runs(model=model)
        show(found, tables.runs(found), as_json=as_json)


@runs_app.command(epilog="Example: hinterland runs start activity --rounds 8")
def start(  # noqa: PLR0917  typer makes options of them, which have names
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="Model line to train.")],
    rounds: Annotated[int | None, typer.Option(help="Rounds, if not the line's own number.", min=1)] = None,
    device: Annotated[list[str] | None, typer.Option(help="A device that trains; may be repeated.")] = None,
    reason: Annotated[str, typer.Option(help="For the audit log.")] = "",
    as_json: Json = False,
) -> None:
    """Queue a run of a model line."""
    with connected(context) as client:
        overrides = {} if rounds is None else {"rounds": rounds}
        run = client.start_run(RunRequest(model=model, reason=reason, devices=device or [], overrides=overrides))
        if as_json:
            print_json(run)
        else:
            typer.echo(f"{run.id} is queued.")


@runs_app.command(epilog="Example: hinterland runs watch activity-run-1")
def watch(
    context: typer.Context,
    run: Annotated[str | None, typer.Argument(help="Which; the newest when left out.")] = None,
    as_json: Json = False,
) -> None:
    """Follow a run to its end, round by round. Ends with status 1 unless it was released."""
    with connected(context) as client:
        found = _newest(client) if run is None else client.run(run)
        told = 0
        while True:
            if not as_json:
                told = _tell(found, told)
            if found.state in OVER:
                break
            time.sleep(POLL_S)
            found = client.run(found.id)
        show(found, tables.rounds(found), as_json=as_json)
        raise typer.Exit(0 if found.state == "released" else 1)


def _newest(client: Client) -> Run:
    found = client.runs()
    if not found:
        raise RefusedError("there is no run yet", hint="Start one: `hinterland runs start MODEL`.")
    return max(found, key=lambda run: run.created_at)


def _tell(run: Run, told: int) -> int:
    """Print the rounds that are new."""
    for row in run.rounds[told:]:
        loss, accuracy = row.metrics.get("loss", 0.0), row.metrics.get("accuracy", 0.0)
        typer.echo(f"{run.id} round {row.number}: loss {loss:.4f}, accuracy {accuracy:.4f}")
    return len(run.rounds)
