"""Devices whose updates the gate refused, and their release."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends
from sqlalchemy import Connection

from cloud.access.principal import Action, Principal
from cloud.api.bodies import Answer, Routes, body, reply
from cloud.api.services import Parts, Reason, Viewer, allow
from cloud.api.sight import Sight
from cloud.loop import quarantine
from cloud.store.devices import Device
from cloud.store.quarantine import Quarantine
from shared.quarantine import Released, Strike, Suspect

router = Routes(prefix="/quarantine", tags=["devices"])


@router.get("")
def suspects(parts: Parts, by: Viewer) -> Answer[list[Suspect]]:
    """Every device that something is held against, with the evidence; quarantined or not yet."""
    with parts.database.read() as connection:
        seen, store = Sight(connection, parts, by).devices, Quarantine(connection)
        names = {strike.device for strike in store.strikes()} | {held.device for held in store.all()}
        return reply([_view(connection, seen[name]) for name in sorted(names & seen.keys())])


@router.post("/{device}/release")
def release(
    parts: Parts,
    by: Annotated[Principal, allow(Action.TRAIN)],
    device: str,
    reason: Reason,
    request: Annotated[Released, Depends(body(Released))],
) -> Answer[Suspect]:
    """Let a device take part in later runs again, and forgive its strikes."""
    with parts.database.write() as connection:
        sight = Sight(connection, parts, by)
        found = sight.device(device)
        sight.require(Action.TRAIN, {found.fleet})
        quarantine.release(connection, found.id, at=parts.clock.now(), by=by.actor, reason=request.reason or reason)
        return reply(_view(connection, found))


def _view(connection: Connection, device: Device) -> Suspect:
    store = Quarantine(connection)
    held = store.find(device.id)
    return Suspect(
        device=device.id,
        fleet=device.fleet,
        quarantined=held is not None,
        since=held.since if held else None,
        strikes=[
            Strike(
                run=each.run,
                round=each.round,
                at=each.at,
                check=each.check,
                reason=each.reason,
                measured=each.measured,
            )
            for each in store.strikes(device.id)
        ],
    )
