"""What fleets' operators hide from view, as they said last."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection, select, update

from cloud.store.rows import columns, one
from cloud.store.tables import fleet_masks
from shared.masks import FleetMasks


class MaskRow(msgspec.Struct, frozen=True, kw_only=True):
    """The masks of one fleet."""

    fleet: str
    document: FleetMasks
    updated_at: float


class Masks:
    """Masks in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def put(self, row: MaskRow) -> None:
        """Insert or replace the masks of a fleet."""
        statement = update(fleet_masks).where(fleet_masks.c.fleet == row.fleet).values(**columns(row))
        if self._connection.execute(statement).rowcount == 0:
            self._connection.execute(fleet_masks.insert().values(**columns(row)))

    def of(self, fleet: str) -> FleetMasks:
        """The masks of a fleet; none where nobody said so."""
        row = one(self._connection, select(fleet_masks).where(fleet_masks.c.fleet == fleet), MaskRow)
        return row.document if row else FleetMasks()
