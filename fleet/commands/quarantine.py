"""Devices whose updates were refused too often."""

from __future__ import annotations

from typing import Annotated

import typer

from fleet import tables
from fleet.session import Json, connected, show

quarantine_app = typer.Typer(no_args_is_help=True, help="Devices whose client updates were refused.")


@quarantine_app.command("list")
def list_suspects(context: typer.Context, as_json: Json = False) -> None:
    """List devices that something is held against: each strike, and who is quarantined."""
    with connected(context) as client:
        found = client.quarantine()
        rows = [
            (
                suspect.device,
                suspect.fleet,
                tables.moment(suspect.since) if suspect.quarantined else "no",
                f"{strike.run} {strike.round}",
                strike.check,
                strike.reason,
            )
            for suspect in found
            for strike in suspect.strikes
        ]
        columns = ("device", "fleet", "quarantined", "run, round", "check", "found")
        show(found, tables.table("Strikes", columns, rows), as_json=as_json)


@quarantine_app.command(epilog="Example: hinterland quarantine release watch-1 --reason 'its sensor was replaced'")
def release(
    context: typer.Context,
    device: Annotated[str, typer.Argument(help="Its name.")],
    reason: Annotated[str, typer.Option(help="What was found; for the audit log.")],
) -> None:
    """Let a device take part in later runs again; its strikes are forgiven."""
    with connected(context) as client:
        client.release_device(device, reason=reason)
        typer.echo(f"{device} takes part in later runs again.")
