"""What people said of releases that wait to be published."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import Connection

from cloud.access.approvals import Standing, Vote, standing
from cloud.access.principal import Principal
from cloud.audit.log import AuditLog
from cloud.store.approvals import Votes
from cloud.store.database import Database
from cloud.store.events import Events
from cloud.store.releases import ReleaseRow, Releases
from shared.clock import Clock
from shared.errors import RefusedError
from shared.ids import Digest
from shared.trust.modelsig import unsigned_digest


class Decided(NamedTuple):
    """Where a release is with its approvers, and what each said."""

    standing: Standing
    votes: list[Vote]


@dataclass(frozen=True, slots=True, kw_only=True)
class Approvers:
    """Safe to share between threads."""

    database: Database
    clock: Clock
    needed: int = 0
    """Persons that must approve a release before it is signed, 0 to 2."""

    def approved(self, row: ReleaseRow) -> bool:
        """Whether a release may be signed, as far as people are concerned."""
        if not self.needed:
            return True
        with self.database.read() as connection:
            return self.standing(connection, row) is Standing.APPROVED

    def standing(self, connection: Connection, row: ReleaseRow) -> Standing:
        """Where a release is with its approvers."""
        return standing(
            Votes(connection).of(row.id),
            digest=content(row),
            needed=self.needed if row.published_at is None else 0,
            authors=Votes(connection).authors(row.id, row.run),
        )

    def decided(self, connection: Connection, row: ReleaseRow) -> Decided | None:
        """What people said of a release; None where nobody is asked."""
        if not self.needed:
            return None
        return Decided(self.standing(connection, row), Votes(connection).of(row.id))

    def vote(
        self, connection: Connection, release: str, *, by: Principal, digest: str, approved: bool, reason: str
    ) -> ReleaseRow:
        """Take what somebody says of a release; saying something else later replaces it.

        Raises:
            UnknownError: there is none of that name.
            RefusedError: it is out already, needs nobody, or is not what was looked at.
        """
        row, at = Releases(connection).get(release), self.clock.now()
        if row.published_at is not None or not self.needed:
            raise RefusedError(f"{release} waits for nobody's approval", hint="`hinterland releases` shows which do.")
        if digest != content(row):
            raise RefusedError(f"{release} is not what was looked at", hint="Look at it again, then decide.")
        vote = Vote(subject=row.id, principal=by.actor, digest=digest, approved=approved, reason=reason, at=at)
        if self.needed > 1 and approved and by.actor in Votes(connection).authors(row.id, row.run):
            raise RefusedError(f"{by.name} ordered {release}, and others approve it", hint="Ask somebody else.")
        Votes(connection).put(vote)
        word = "approve" if approved else "reject"
        AuditLog(connection).add(
            at=at,
            actor=by.actor,
            action=f"release.{word}",
            subject=row.id,
            reason=reason,
            after={"digest": digest, "standing": str(self.standing(connection, row))},
        )
        Events(connection).add(f"release.{word}", row.id, f"{by.name} {word}s {row.id}", at=at)
        return row


def content(row: ReleaseRow) -> Digest:
    """What is voted on: the manifest without its model signatures, which come after the votes."""
    return unsigned_digest(row.document())
