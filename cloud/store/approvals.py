"""What people said of releases, of rollouts and of privacy budgets."""

from __future__ import annotations

from sqlalchemy import Column, Connection, Table, delete, select

from cloud.access.approvals import Vote
from cloud.store.privacy_tables import proposal_votes
from cloud.store.rows import columns, many
from cloud.store.tables import approvals, audit, rollout_votes


class Votes:
    """Votes on one kind of thing, in one transaction."""

    def __init__(self, connection: Connection, *, table: Table = approvals, about: Column[str] | None = None) -> None:
        self._connection = connection
        self._table = table
        self._about = approvals.c.release if about is None else about

    @classmethod
    def on_rollouts(cls, connection: Connection) -> Votes:
        """Votes on rollouts."""
        return cls(connection, table=rollout_votes, about=rollout_votes.c.rollout)

    @classmethod
    def on_budgets(cls, connection: Connection) -> Votes:
        """Votes on greater privacy budgets."""
        return cls(connection, table=proposal_votes, about=proposal_votes.c.population)

    def put(self, vote: Vote) -> None:
        """Keep a vote; a person's newer one replaces the older."""
        values = columns(vote)
        subject = values.pop("subject")
        mine = (self._about == subject, self._table.c.principal == vote.principal)
        self._connection.execute(delete(self._table).where(*mine))
        self._connection.execute(self._table.insert().values({self._about.name: subject} | values))

    def of(self, subject: str) -> list[Vote]:
        """Every vote on one of them, oldest first."""
        said = [self._table.c[name] for name in ("principal", "digest", "approved", "reason", "at")]
        query = select(self._about.label("subject"), *said).where(self._about == subject)
        return many(self._connection, query.order_by(self._table.c.at, self._table.c.principal), Vote)

    def authors(self, *subjects: str) -> set[str]:
        """Who ordered any of these releases, runs or rollouts, or changed them since."""
        orders = audit.c.action.in_(["release.create", "run.create", "rollout.create", "rollout.change"])
        return set(self._connection.scalars(select(audit.c.actor).where(orders, audit.c.subject.in_(subjects))))
