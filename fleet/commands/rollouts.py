"""Rollouts: begin, watch, and step in."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Annotated

import msgspec
import typer

from fleet import rollout_tables as tables
from fleet.client import Client
from fleet.session import Json, connected, fail, print_json, show
from shared import api
from shared.api import RolloutRequest
from shared.errors import TransportError

rollouts_app = typer.Typer(help="Rollouts: begin one, watch it, step in.")

OVER = ("done", "halted", "superseded")
LOOK_S = 1.0
"""Seconds between two looks."""

PATIENCE_S = 120.0
"""How long a coordinator may start anew under somebody who watches."""

Which = Annotated[str, typer.Argument(help="Which, for example activity-2-wards.")]
Because = Annotated[str, typer.Option("--reason", help="For the audit log.")]


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
    reason: Because = "",
) -> None:
    """Bring a release to a fleet as its model line says; `hinterland apply` takes a document of your own."""
    with connected(context) as client:
        request = RolloutRequest(release=release, fleet=fleet, canaries=canary or None, reason=reason)
        typer.echo(f"{client.start_rollout(request).id} is under way.")


@rollouts_app.command("show", epilog="Example: hinterland rollouts show activity-2-wards")
def show_one(context: typer.Context, rollout: Which, as_json: Json = False) -> None:
    """Show one rollout: its waves, what each gate has proven, and the devices."""
    with connected(context) as client:
        found = client.rollout(rollout, devices=as_json)
        show(found, [] if as_json else tables.rollout(found, _some(client, rollout)), as_json=as_json)


def _some(client: Client, rollout: str) -> list[api.RolloutDevice]:
    """A few of its devices, those that failed first."""
    bad = client.rollout_devices(rollout, limit=tables.MOST, failed=True)
    names = {row.device for row in bad}
    others = client.rollout_devices(rollout, limit=tables.MOST)
    return (bad + [row for row in others if row.device not in names])[: tables.MOST]


@rollouts_app.command(epilog="Example: hinterland rollouts watch activity-2-wards")
def watch(context: typer.Context, rollout: Which, as_json: Json = False) -> None:
    """Follow a rollout, a line a change; ends with status 0 when it is done, and 1 when it was halted or superseded."""
    with connected(context) as client:
        said = ""
        for found in _looks(client, rollout):
            if (line := tables.line(found)) != said:
                said = line
                typer.echo(msgspec.json.encode(found).decode() if as_json else line)
            if found.state in OVER:
                raise typer.Exit(0 if found.state == "done" else 1)


def _looks(client: Client, rollout: str) -> Iterator[api.Rollout]:
    """The rollout again and again; a coordinator that has answered once may be away for a while.

    Raises:
        TransportError: it does not answer at first, or was away for too long.
    """
    answered: float | None = None
    while True:
        try:
            found = client.rollout(rollout, devices=False)
        except TransportError:
            if answered is None or time.monotonic() - answered > PATIENCE_S:
                raise
        else:
            answered = time.monotonic()
            yield found
        time.sleep(LOOK_S)


@rollouts_app.command(epilog="Example: hinterland rollouts pause activity-2-wards --reason 'night shift'")
def pause(context: typer.Context, rollout: Which, reason: Because, as_json: Json = False) -> None:
    """Ask no more devices until it is resumed; devices that fail still halt it."""
    _intervene(context, rollout, "pause", "is paused", reason=reason, as_json=as_json)


@rollouts_app.command(epilog="Example: hinterland rollouts resume activity-2-wards --reason 'shift is over'")
def resume(context: typer.Context, rollout: Which, reason: Because, as_json: Json = False) -> None:
    """Go on; the time of the pause counts against no deadline."""
    _intervene(context, rollout, "resume", "goes on", reason=reason, as_json=as_json)


@rollouts_app.command(epilog="Example: hinterland rollouts abort activity-2-wards --reason 'wrong fleet'")
def abort(context: typer.Context, rollout: Which, reason: Because, as_json: Json = False) -> None:
    """End it, and send back the devices that were asked."""
    _intervene(context, rollout, "abort", "has ended", reason=reason, as_json=as_json)


@rollouts_app.command(epilog="Example: hinterland rollouts rollback activity-2-wards --reason 'false alarms'")
def rollback(context: typer.Context, rollout: Which, reason: Because, as_json: Json = False) -> None:
    """Give everybody what ran before, also after it is done."""
    _intervene(context, rollout, "rollback", "is rolled back", reason=reason, as_json=as_json)


@rollouts_app.command(epilog="Example: hinterland rollouts approve activity-2-wards --reason 'tests look good'")
def approve(
    context: typer.Context,
    rollout: Which,
    reason: Because,
    seen: Annotated[str, typer.Option(help="What you looked at: the beginning of its `content` digest.")] = "",
) -> None:
    """Say yes to a rollout that waits for it."""
    _vote(context, rollout, reason=reason, seen=seen, approved=True)


@rollouts_app.command(epilog="Example: hinterland rollouts reject activity-2-wards --reason 'not before the holidays'")
def reject(
    context: typer.Context,
    rollout: Which,
    reason: Because,
    seen: Annotated[str, typer.Option(help="What you looked at: the beginning of its `content` digest.")] = "",
) -> None:
    """Say no to a rollout; it does not begin unless you approve it later."""
    _vote(context, rollout, reason=reason, seen=seen, approved=False)


def _intervene(context: typer.Context, rollout: str, what: str, words: str, *, reason: str, as_json: bool) -> None:
    with connected(context) as client:
        found = client.intervene(rollout, what, reason=reason)
        if as_json:
            print_json(found)
        else:
            back = f"; devices that were asked go to {found.fallback}" if found.fallback else ""
            typer.echo(f"{rollout} {words}{back}.")


def _vote(context: typer.Context, rollout: str, *, reason: str, seen: str, approved: bool) -> None:
    with connected(context) as client:
        there = client.rollout(rollout)
        if not there.content.startswith(seen):
            fail(f"{rollout} is not what you looked at", remedy="Look again: `hinterland rollouts show`.")
        found = client.vote_rollout(rollout, digest=there.content, approved=approved, reason=reason)
        names = ", ".join(vote.by for vote in found.votes if vote.approved) or "nobody"
        typer.echo(f"{rollout} is {found.approval}: approved by {names}.")
