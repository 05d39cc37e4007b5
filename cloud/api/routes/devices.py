"""Devices, and why each runs what it runs."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends

from cloud.access.principal import Action, Principal
from cloud.api.bodies import Answer, Routes, body, reply
from cloud.api.services import Parts, Reason, Viewer, allow
from cloud.api.sight import Sight
from cloud.api.views.devices import device_view, device_views
from cloud.api.views.lineage import lineage
from cloud.devices.labels import label_device
from shared.api import Device, Labels, Lineage, Revocation

router = Routes(prefix="/devices", tags=["devices"])


@router.get("")
def devices(parts: Parts, by: Viewer) -> Answer[list[Device]]:
    """Every device with the state of its models."""
    with parts.database.read() as connection:
        sight = Sight(connection, parts, by)
        return reply([device for device in device_views(connection) if sight.sees(device.fleet)])


@router.get("/{device}")
def one_device(parts: Parts, by: Viewer, device: str) -> Answer[Device]:
    """One device."""
    with parts.database.read() as connection:
        return reply(device_view(connection, Sight(connection, parts, by).device(device).id))


@router.get("/{device}/why")
def why(parts: Parts, by: Viewer, device: str) -> Answer[Lineage]:
    """Release, run, rounds, cohort, evaluation, variant, signers, wave and live figures behind what it runs."""
    with parts.database.read() as connection:
        sight = Sight(connection, parts, by)
        return reply(sight.lineage(lineage(connection, sight.device(device).id)))


@router.put("/{device}/labels")
def label(
    parts: Parts,
    by: Annotated[Principal, allow(Action.ROLL_OUT)],
    device: str,
    reason: Reason,
    request: Annotated[Labels, Depends(body(Labels))],
    *,
    dry_run: bool = False,
) -> Answer[Device]:
    """Replace what operators call a device by; rollouts under way that mean it now take it in."""
    with parts.database.rehearse() if dry_run else parts.database.write() as connection:
        sight = Sight(connection, parts, by)
        sight.require(Action.ROLL_OUT, {sight.device(device).fleet})
        label_device(connection, device, request.labels, by=by.actor, reason=reason, at=parts.clock.now())
        view = device_view(connection, device)
    if not dry_run:
        parts.wake()
    return reply(view)


@router.post("/{device}/revoke")
def revoke(
    parts: Parts,
    by: Annotated[Principal, allow(Action.REVOKE)],
    device: str,
    reason: Reason,
    request: Annotated[Revocation, Depends(body(Revocation))],
) -> Answer[Device]:
    """Shut a device out."""
    with parts.database.read() as connection:
        sight = Sight(connection, parts, by)
        sight.require(Action.REVOKE, {sight.device(device).fleet})
    parts.desk.revoke(device, reason=request.reason or reason, by=by)
    parts.wake()
    with parts.database.read() as connection:
        return reply(device_view(connection, device))
