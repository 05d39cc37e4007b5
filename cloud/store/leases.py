"""Leases: one row for each thing that one replica alone may do."""

from __future__ import annotations

from sqlalchemy import Connection, select, update

from cloud.cluster.lease import Lease
from cloud.store.rows import columns, one
from cloud.store.tables import leases


class Leases:
    """Leases in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def find(self, name: str) -> Lease | None:
        """The newest lease of that name, in force or not."""
        return one(self._connection, select(leases).where(leases.c.name == name), Lease)

    def put(self, lease: Lease) -> None:
        """Keep it in place of the one before."""
        statement = update(leases).where(leases.c.name == lease.name).values(**columns(lease))
        if self._connection.execute(statement).rowcount == 0:
            self._connection.execute(leases.insert().values(**columns(lease)))
