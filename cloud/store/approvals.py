"""What people said of releases."""

from __future__ import annotations

from sqlalchemy import Connection, delete, select

from cloud.access.approvals import Vote
from cloud.store.rows import columns, many
from cloud.store.tables import approvals, audit


class Votes:
    """Votes in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def put(self, vote: Vote) -> None:
        """Keep a vote; a person's newer one replaces the older."""
        mine = (approvals.c.release == vote.release, approvals.c.principal == vote.principal)
        self._connection.execute(delete(approvals).where(*mine))
        self._connection.execute(approvals.insert().values(**columns(vote)))

    def of(self, release: str) -> list[Vote]:
        """Every vote on a release, oldest first."""
        query = select(approvals).where(approvals.c.release == release)
        return many(self._connection, query.order_by(approvals.c.at, approvals.c.principal), Vote)

    def authors(self, release: str, *, run: str) -> set[str]:
        """Who ordered the release, or the run that it came from."""
        orders = audit.c.action.in_(["release.create", "run.create"])
        return set(self._connection.scalars(select(audit.c.actor).where(orders, audit.c.subject.in_([release, run]))))
