"""Strikes from runs' ledgers into the database, and an operator's word that lets a device back in."""

from __future__ import annotations

from sqlalchemy import Connection

from cloud.audit.log import AuditLog
from cloud.store.events import Events
from cloud.store.quarantine import Quarantine, Quarantined, Strike
from cloud.store.runs import Run
from cloud.training.events import UpdateRefused
from cloud.training.quarantine import is_over, is_strike
from cloud.training.spec import limit_of
from shared.errors import RefusedError

ACTOR = "coordinator"


def take_refusal(connection: Connection, run: Run, event: UpdateRefused) -> None:
    """Count a refusal that is a strike; quarantine the device if it was one too many."""
    store = Quarantine(connection)
    if not is_strike(event):
        return
    strike = Strike(
        device=event.device,
        run=run.id,
        round=event.round,
        at=event.at,
        check=event.check,
        reason=event.reason,
        measured=event.measured,
    )
    if not store.strike(strike) or store.find(event.device) is not None:
        return
    count = len(store.strikes(event.device))
    if not is_over(count, limit=limit_of(run.spec)):
        return
    store.put(Quarantined(device=event.device, since=event.at, run=run.id, reason=event.reason))
    AuditLog(connection).add(
        at=event.at,
        actor=ACTOR,
        action="device.quarantine",
        subject=event.device,
        reason=event.reason,
        after={"run": run.id, "round": event.round, "strikes": count},
    )
    text = f"{event.device} is quarantined after {count} strikes: {event.reason}"
    Events(connection).add("device.quarantined", event.device, text, at=event.at, run=run.id, strikes=count)


def release(connection: Connection, device: str, *, at: float, by: str, reason: str) -> None:
    """Let a device back into later runs; its strikes are forgiven.

    Raises:
        RefusedError: nothing is held against it, or nobody says why.
    """
    store = Quarantine(connection)
    held, count = store.find(device), len(store.strikes(device))
    if held is None and not count:
        raise RefusedError(f"nothing is held against {device}", hint="`hinterland quarantine list` shows who is held.")
    if not reason.strip():
        raise RefusedError("a release needs a reason", hint="Say what was found, with --reason.")
    store.release(device, at=at)
    AuditLog(connection).add(
        at=at,
        actor=by,
        action="device.release",
        subject=device,
        reason=reason,
        before={"quarantined": held is not None, "strikes": count},
        after={"quarantined": False, "strikes": 0},
    )
    text = f"{device} is released from quarantine: {reason}"
    Events(connection).add("device.released", device, text, at=at, strikes=count)
