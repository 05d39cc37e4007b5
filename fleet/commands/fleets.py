"""Fleets, and how each is sent model bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec
import typer

from fleet import tables
from fleet.session import Json, Why, connected, one_line, print_json, show
from shared.distribution import Fleet, TimeWindow
from shared.errors import RefusedError

fleets_app = typer.Typer(help="Fleets, and how each is sent model bytes.")

COLUMNS = ("fleet", "devices", "rate MiB/s", "priority", "windows")

Name = Annotated[str, typer.Argument(help="Its name.")]


@fleets_app.callback(invoke_without_command=True, epilog="Example: hinterland fleets --json")
def fleets(context: typer.Context, as_json: Json = False) -> None:
    """List fleets."""
    if context.invoked_subcommand is not None:
        return
    with connected(context) as client:
        found = client.fleets()
        show(found, tables.table("Fleets", COLUMNS, _rows(found)), as_json=as_json)


@fleets_app.command("show", epilog="Example: hinterland fleets show wards")
def show_one(context: typer.Context, fleet: Name, as_json: Json = False) -> None:
    """Show one fleet."""
    with connected(context) as client:
        found = client.fleet(fleet)
        show(found, tables.table(f"Fleet {fleet}", COLUMNS, _rows([found])), as_json=as_json)


@fleets_app.command("set", epilog="Example: hinterland fleets set wards --rate 2 --window 'mon,tue 22:00-05:00 UTC'")
def change(  # noqa: PLR0917  typer makes options of them, which have names
    context: typer.Context,
    fleet: Name,
    rate: Annotated[float | None, typer.Option(help="Most MiB a second; 0 for no bound.", min=0.0)] = None,
    priority: Annotated[
        int | None, typer.Option(help="Chunks for each one of a fleet with priority 1, while both wait.", min=1)
    ] = None,
    window: Annotated[
        list[str] | None,
        typer.Option(help="When to send: '[days ]start-end[ zone]'; may be repeated, and replaces those before."),
    ] = None,
    always: Annotated[bool, typer.Option("--always", help="Send at any time: forget the windows.")] = False,
    reason: Why = "",
    as_json: Json = False,
) -> None:
    """Say how fast, how urgently and when a fleet is sent model bytes; what is left out stays as it is."""
    with one_line():
        windows = None if window is None else [read_window(text) for text in window]
    with connected(context) as client:
        rule = client.fleet(fleet).distribution
        said = {"rate_mib_s": rate, "priority": priority, "windows": [] if always else windows}
        rule = msgspec.structs.replace(rule, **{name: value for name, value in said.items() if value is not None})
        found = client.distribute(fleet, rule, reason=reason)
        if as_json:
            print_json(found)
        else:
            typer.echo(f"{fleet} is sent model bytes so from now on.")


def read_window(text: str) -> TimeWindow:
    """A window as people write it: `mon,tue 22:00-05:00 Europe/Berlin`; days and zone may be left out.

    Raises:
        RefusedError: it has no start and end. What does not exist is refused by the coordinator.
    """
    words = text.split()
    times = [number for number, word in enumerate(words) if word.count("-") == 1 and ":" in word]
    if len(times) != 1 or times[0] > 1 or len(words) - times[0] > 2:
        raise RefusedError(f"{text!r} is no window", hint="Write it as 'mon,tue 22:00-05:00 UTC'.")
    start, end = words[times[0]].split("-")
    days = words[0].lower().split(",") if times[0] else []
    zone = words[times[0] + 1] if len(words) > times[0] + 1 else "UTC"
    return TimeWindow(days=days, start=start, end=end, zone=zone)


def _rows(found: Sequence[Fleet]) -> list[tuple[object, ...]]:
    return [
        (
            fleet.id,
            fleet.devices,
            fleet.distribution.rate_mib_s or "",
            fleet.distribution.priority,
            "; ".join(_window(window) for window in fleet.distribution.windows) or "always",
        )
        for fleet in found
    ]


def _window(window: TimeWindow) -> str:
    return f"{','.join(window.days)} {window.start}-{window.end} {window.zone}".strip()
