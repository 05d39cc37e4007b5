"""What is forgotten, and when: reports of devices and the timeline, by the coordinator's clock.

Never forgotten: the audit log, runs, rounds, releases, rollouts, and what the inbox knows of each boot, which keeps
a record that was stored and resent months later from counting twice.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import delete, select

from cloud.store.database import Database
from cloud.store.tables import drift_reports, drift_scores, events, telemetry
from shared.clock import Clock

DAY = 86_400.0
"""Seconds."""

BATCH = 2_000
"""Rows a transaction removes, so that an ack never waits long behind it."""

_AGED = (
    (telemetry, telemetry.c.id, telemetry.c.received_at),
    (drift_reports, drift_reports.c.id, drift_reports.c.received_at),  # judged within seconds, see `cloud.loop.drift`
    (drift_scores, drift_scores.c.report, drift_scores.c.at),
    (events, events.c.id, events.c.at),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """Forgets what is older than `days`; 0 keeps everything."""

    database: Database
    clock: Clock
    days: float

    def forget(self) -> int:
        """Remove what is too old, a batch a transaction; return how many rows went.

        Raises:
            FaultError: the database failed; what is left goes next time.
        """
        if not self.days:
            return 0
        before, removed = self.clock.now() - self.days * DAY, 0
        for table, key, at in _AGED:
            while gone := self._batch(delete(table).where(key.in_(select(key).where(at < before).limit(BATCH)))):
                removed += gone
        return removed

    def _batch(self, statement: object) -> int:
        with self.database.write() as connection:
            return int(connection.execute(statement).rowcount)  # type: ignore[call-overload]  # a delete
