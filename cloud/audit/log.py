"""The audit log in the database."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, select

from cloud.store.rows import columns, many, one
from cloud.store.tables import audit
from shared.audit import GENESIS, AuditRow, seal


class AuditLog:
    """The log in one transaction: an action and its row commit together."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(
        self,
        *,
        at: float,
        actor: str,
        action: str,
        subject: str,
        reason: str = "",
        before: dict[str, Any] | None = None,
        after: dict[str, Any] | None = None,
    ) -> AuditRow:
        """Append a row; never pass a secret."""
        last = self.last()
        row = seal(
            AuditRow(
                number=last.number + 1 if last else 1,
                at=at,
                actor=actor,
                action=action,
                subject=subject,
                reason=reason,
                before=before or {},
                after=after or {},
                previous=last.digest if last else GENESIS,
            )
        )
        self._connection.execute(audit.insert().values(**columns(row)))
        return row

    def last(self) -> AuditRow | None:
        """The newest row."""
        return one(self._connection, select(audit).order_by(audit.c.number.desc()).limit(1), AuditRow)

    def row(self, number: int) -> AuditRow | None:
        """One row."""
        return one(self._connection, select(audit).where(audit.c.number == number), AuditRow)

    def newest(self, action: str) -> AuditRow | None:
        """The newest row about an action; found by an index."""
        query = select(audit).where(audit.c.action == action).order_by(audit.c.number.desc()).limit(1)
        return one(self._connection, query, AuditRow)

    def rows(self, *, after: int = 0, limit: int | None = None) -> list[AuditRow]:
        """Rows in order."""
        query = select(audit).where(audit.c.number > after).order_by(audit.c.number)
        return many(self._connection, query if limit is None else query.limit(limit), AuditRow)
