"""Federated runs."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import msgspec
import typer
from rich.live import Live

from fleet import tables
from fleet.client import Client
from fleet.session import Json, connected, print_json, show
from shared.api import RoundProgress, Run, RunRequest
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
    warm_start: Annotated[
        str | None, typer.Option(help="Data set of the company's own to make the first weights from.")
    ] = None,
    warm_epochs: Annotated[int, typer.Option(help="Passes over it.", min=1)] = 1,
    reason: Annotated[str, typer.Option(help="For the audit log.")] = "",
    as_json: Json = False,
) -> None:
    """Queue a run of a model line."""
    with connected(context) as client:
        overrides: dict[str, Any] = {} if rounds is None else {"rounds": rounds}
        if warm_start is not None:
            overrides["warm_start"] = {"data": warm_start, "epochs": warm_epochs}
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
    """Follow a run to its end, with a live table of the devices of the round under way.

    Without a terminal, one line for each closed round and each client whose state has changed; with --json, the
    run and its rounds' clients at the end. Ends with status 1 unless it was released.
    """
    with connected(context) as client:
        found = _newest(client) if run is None else client.run(run)
        with _shown(as_json=as_json) as show_now:
            while True:
                over = found.state in OVER
                show_now(found, client.progress(found.id, since=max(len(found.rounds), 1)))
                if over:
                    break
                time.sleep(POLL_S)
                found = client.run(found.id)
        if as_json:
            print_json(msgspec.structs.replace(found, progress=client.progress(found.id)))
        else:
            show(found, tables.rounds(found), as_json=False)
        raise typer.Exit(0 if found.state == "released" else 1)


Shown = Callable[[Run, Sequence[RoundProgress]], None]


@contextmanager
def _shown(*, as_json: bool) -> Iterator[Shown]:
    """How what is new is shown: not at all, as lines that stay, or as a table that is drawn anew."""
    if as_json:
        yield lambda _run, _rounds: None
        return
    told = Told()
    if not _is_terminal():
        yield lambda run, rounds: _tell(told.news(run, rounds))
        return
    with Live(transient=True, auto_refresh=False) as live:

        def draw(run: Run, rounds: Sequence[RoundProgress]) -> None:
            for line in told.closed(run):
                live.console.print(line, highlight=False)
            if rounds:
                live.update(tables.progress(rounds[-1]), refresh=True)

        yield draw


def _is_terminal() -> bool:
    return sys.stdout.isatty()


def _tell(lines: Iterable[str]) -> None:
    for line in lines:
        typer.echo(line)


class Told:
    """What was said already, so that nothing is said twice."""

    def __init__(self) -> None:
        self._rounds = 0
        self._clients: dict[tuple[int, str], str] = {}

    def news(self, run: Run, rounds: Sequence[RoundProgress]) -> list[str]:
        """Lines about clients whose state has changed, then about rounds that have closed."""
        lines = []
        for one in rounds:
            for device, client in sorted(one.clients.items()):
                if self._clients.get((one.round, device)) != client.state:
                    self._clients[one.round, device] = client.state
                    why = f": {client.reason}" if client.reason else ""
                    lines.append(f"{run.id} round {one.round}: {device} {client.state}{why}")
        return lines + self.closed(run)

    def closed(self, run: Run) -> list[str]:
        """Lines about rounds that have closed."""
        new, self._rounds = run.rounds[self._rounds :], len(run.rounds)
        return [
            f"{run.id} round {row.number}: loss {row.metrics.get('loss', 0.0):.4f},"
            f" accuracy {row.metrics.get('accuracy', 0.0):.4f}"
            for row in new
        ]


def _newest(client: Client) -> Run:
    found = client.runs()
    if not found:
        raise RefusedError("there is no run yet", hint="Start one: `hinterland runs start MODEL`.")
    return max(found, key=lambda run: run.created_at)
