"""What an experiment tracker was told of runs."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection, select, update

from cloud.store.job_tables import tracked
from cloud.store.rows import columns, many


class TrackedRun(msgspec.Struct, frozen=True, kw_only=True):
    """One run at the tracker."""

    run: str
    remote: str
    """Its id there."""

    rounds: int
    """Number of the newest round that was told."""

    state: str
    """That was told."""


class Tracked:
    """Told runs in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def all(self) -> dict[str, TrackedRun]:
        """Run → what was told of it."""
        return {row.run: row for row in many(self._connection, select(tracked), TrackedRun)}

    def put(self, row: TrackedRun) -> None:
        """Insert or replace."""
        where = tracked.c.run == row.run
        if self._connection.execute(update(tracked).where(where).values(**columns(row))).rowcount == 0:
            self._connection.execute(tracked.insert().values(**columns(row)))
