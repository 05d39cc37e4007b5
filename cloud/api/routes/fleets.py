"""Fleets, and how each is sent model bytes."""

from __future__ import annotations

from collections import Counter
from typing import Annotated

from fastapi import Depends
from sqlalchemy import Connection

from cloud.access.principal import Action, Principal
from cloud.api.bodies import Answer, Routes, body, reply
from cloud.api.services import Parts, Reason, Viewer, allow
from cloud.api.sight import Sight
from cloud.loop.distribution import order_distribution
from cloud.loop.masks import order_masks
from cloud.store.devices import Devices, DeviceState
from cloud.store.distribution import Rules
from cloud.store.masks import Masks
from cloud.store.rows import UnknownError
from shared.distribution import Distribution, Fleet
from shared.masks import FleetMasks

router = Routes(prefix="/fleets", tags=["fleets"])


@router.get("")
def fleets(parts: Parts, by: Viewer) -> Answer[list[Fleet]]:
    """Every fleet."""
    with parts.database.read() as connection:
        sight = Sight(connection, parts, by)
        return reply(_views(connection, [fleet for fleet in sorted(parts.desk.fleets) if sight.sees(fleet)]))


@router.get("/{fleet}/distribution")
def one_fleet(parts: Parts, by: Viewer, fleet: str) -> Answer[Fleet]:
    """One fleet."""
    with parts.database.read() as connection:
        return reply(_views(connection, [_known(Sight(connection, parts, by), parts, fleet)])[0])


@router.put("/{fleet}/distribution")
def put_distribution(
    parts: Parts,
    by: Annotated[Principal, allow(Action.ROLL_OUT)],
    fleet: str,
    reason: Reason,
    rule: Annotated[Distribution, Depends(body(Distribution))],
    *,
    dry_run: bool = False,
) -> Answer[Fleet]:
    """Say how fast, how urgently and when a fleet is sent model bytes."""
    with parts.database.rehearse() if dry_run else parts.database.write() as connection:
        sight = Sight(connection, parts, by)
        sight.require(Action.ROLL_OUT, {_known(sight, parts, fleet)})
        known, at = parts.desk.fleets, parts.clock.now()
        order_distribution(connection, fleet, rule, fleets=known, at=at, by=by.actor, reason=reason)
        return reply(_views(connection, [fleet])[0])


@router.get("/{fleet}/masks")
def fleet_masks(parts: Parts, by: Viewer, fleet: str) -> Answer[FleetMasks]:
    """What a fleet's cameras hide."""
    with parts.database.read() as connection:
        return reply(Masks(connection).of(_known(Sight(connection, parts, by), parts, fleet)))


@router.put("/{fleet}/masks")
def put_masks(
    parts: Parts,
    by: Annotated[Principal, allow(Action.ROLL_OUT)],
    fleet: str,
    reason: Reason,
    masks: Annotated[FleetMasks, Depends(body(FleetMasks))],
    *,
    dry_run: bool = False,
) -> Answer[FleetMasks]:
    """Say what a fleet's cameras hide, on top of what their owners do; signed with the fleet's desired state."""
    with parts.database.rehearse() if dry_run else parts.database.write() as connection:
        sight = Sight(connection, parts, by)
        sight.require(Action.ROLL_OUT, {_known(sight, parts, fleet)})
        known, at = parts.desk.fleets, parts.clock.now()
        return reply(order_masks(connection, fleet, masks, fleets=known, at=at, by=by.actor, reason=reason))


def _known(sight: Sight, parts: Parts, fleet: str) -> str:
    if fleet not in parts.desk.fleets or not sight.sees(fleet):
        raise UnknownError(f"no fleet {fleet!r}", hint="`hinterland fleets` lists them.")
    return fleet


def _views(connection: Connection, names: list[str]) -> list[Fleet]:
    rules = {row.fleet: row for row in Rules(connection).all()}
    enrolled = Counter(row.fleet for row in Devices(connection).all() if row.state is DeviceState.ENROLLED)
    return [
        Fleet(
            id=name,
            devices=enrolled[name],
            distribution=rules[name].document if name in rules else Distribution(),
            updated_at=rules[name].updated_at if name in rules else 0.0,
        )
        for name in names
    ]
