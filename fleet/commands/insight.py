"""What the devices tell, and what happened: drift, telemetry, timeline."""

from __future__ import annotations

import time
from typing import Annotated

import msgspec
import typer

from fleet import tables
from fleet.client import Client
from fleet.session import Json, connected, show

POLL_S = 1.0
PAGE = 500


def status(context: typer.Context, as_json: Json = False) -> None:
    """Say whether the coordinator can do its part. Ends with status 1 if not."""
    with connected(context) as client:
        found = client.health()
        rows = sorted(found.parts.items())
        rows += [(f"certificate of {name}", f"{days:.0f} days") for name, days in sorted(found.certificates.items())]
        show(found, tables.table(f"Coordinator of {found.tenant}: {found.status}", ("part", ""), rows), as_json=as_json)
        raise typer.Exit(0 if found.status == "ok" else 1)


def drift(context: typer.Context, as_json: Json = False) -> None:
    """Show how far devices' inputs are from what their models were trained on."""
    with connected(context) as client:
        found = client.drift()
        show(found, tables.drift(found), as_json=as_json)


def telemetry(context: typer.Context, as_json: Json = False) -> None:
    """Show what devices delivered and computed."""
    with connected(context) as client:
        found = client.telemetry()
        show(found, tables.telemetry(found), as_json=as_json)


def events(
    context: typer.Context,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Wait for more until Ctrl-C.")] = False,
    after: Annotated[int, typer.Option(help="Only events with a higher id.", min=0)] = 0,
    as_json: Json = False,
) -> None:
    """Show the timeline, oldest first; as JSON one event a line."""
    with connected(context) as client:
        while True:
            after = _print_events(client, after, as_json=as_json)
            if not follow:
                return
            time.sleep(POLL_S)


def _print_events(client: Client, after: int, *, as_json: bool) -> int:
    """Print all events after one; return the id of the last."""
    while page := client.events(after=after, limit=PAGE):
        for event in page:
            typer.echo(msgspec.json.encode(event).decode() if as_json else tables.event_line(event))
        after = page[-1].id
        if len(page) < PAGE:
            break
    return after
