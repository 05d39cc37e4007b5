"""How fleets are sent model bytes, as operators said last."""

from __future__ import annotations

import threading
from collections.abc import Mapping

import msgspec
from sqlalchemy import Connection, select, update

from cloud.store.database import Database
from cloud.store.rows import columns, many, one
from cloud.store.tables import devices, distribution
from shared.distribution import Distribution
from shared.ids import DeviceId


class RuleRow(msgspec.Struct, frozen=True, kw_only=True):
    """The rule of one fleet."""

    fleet: str
    document: Distribution
    updated_at: float


class Rules:
    """Rules in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def put(self, row: RuleRow) -> None:
        """Insert or replace the rule of a fleet."""
        statement = update(distribution).where(distribution.c.fleet == row.fleet).values(**columns(row))
        if self._connection.execute(statement).rowcount == 0:
            self._connection.execute(distribution.insert().values(**columns(row)))

    def find(self, fleet: str) -> RuleRow | None:
        """The rule of a fleet, or None."""
        return one(self._connection, select(distribution).where(distribution.c.fleet == fleet), RuleRow)

    def all(self) -> list[RuleRow]:
        """Every rule by fleet."""
        return many(self._connection, select(distribution).order_by(distribution.c.fleet), RuleRow)


class SqlFleets:
    """The port `cloud.distribution.fleets.Fleets` over the database; safe to share between threads."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._fleets: dict[str, str] = {}

    def rules(self) -> Mapping[str, Distribution]:
        """Read anew; what is remembered of devices is forgotten, for they may enrol into another fleet."""
        with self._database.read() as connection:
            found = {row.fleet: row.document for row in Rules(connection).all()}
        with self._lock:
            self._fleets.clear()
        return found

    def fleet(self, device: DeviceId) -> str:
        with self._lock:
            known = self._fleets.get(device)
        if known is not None:
            return known
        with self._database.read() as connection:
            fleet = str(connection.scalar(select(devices.c.fleet).where(devices.c.id == device)) or "")
        with self._lock:
            self._fleets[device] = fleet
        return fleet
