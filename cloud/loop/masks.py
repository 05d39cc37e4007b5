"""What operators hide from their fleets' devices: one transaction each, audited."""

from __future__ import annotations

from collections.abc import Collection

import msgspec
from sqlalchemy import Connection

from cloud.audit.log import AuditLog
from cloud.store.masks import MaskRow, Masks
from cloud.store.rows import UnknownError
from shared.errors import RefusedError
from shared.ids import check_name
from shared.masks import EVERY, MAX_MASKS, FleetMasks

MAX_DOCUMENT = 256 << 10
"""Bytes; it is signed and sent to every device of the fleet with each change of its desired state."""


def order_masks(
    connection: Connection,
    fleet: str,
    masks: FleetMasks,
    *,
    fleets: Collection[str],
    at: float,
    by: str,
    reason: str = "",
) -> FleetMasks:
    """Have `masks` signed with the fleet's desired state, in place of those before; each change is audited.

    Raises:
        UnknownError: no such fleet.
        RefusedError: too many, or a name that no device can have.
    """
    if fleet not in fleets:
        raise UnknownError(f"no fleet {fleet!r}", hint="`hinterland fleets` lists them.")
    _check(masks)
    store = Masks(connection)
    held = store.of(fleet)
    if held == masks:
        return held
    store.put(MaskRow(fleet=fleet, document=masks, updated_at=at))
    AuditLog(connection).add(
        at=at,
        actor=by,
        action="fleet.masks",
        subject=fleet,
        reason=reason,
        before=msgspec.to_builtins(held),
        after=msgspec.to_builtins(masks),
    )
    return masks


def _check(masks: FleetMasks) -> None:
    for device, pipelines in masks.devices.items():
        if device != EVERY:
            check_name(device, kind="device id")
        for pipeline in pipelines:
            parts = {(who, what) for who in (EVERY, device) for what in (EVERY, pipeline)}
            total = sum(len(masks.devices.get(who, {}).get(what, ())) for who, what in parts)
            if total > MAX_MASKS:
                raise RefusedError(
                    f"{total} masks for {pipeline} of {device}, of at most {MAX_MASKS}", hint="Put some together."
                )
    if len(msgspec.json.encode(masks)) > MAX_DOCUMENT:
        raise RefusedError(f"the masks are over {MAX_DOCUMENT >> 10} KiB", hint="Use fewer corners.")
