"""Sign and publish releases, and plan the way of the newest one to its fleets."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from cloud.audit.log import AuditLog
from cloud.loop.orders import order_rollout
from cloud.models.line import line_from
from cloud.release.repository import Repository
from cloud.store.database import Database
from cloud.store.events import Events
from cloud.store.lines import Lines
from cloud.store.releases import ReleaseRow, Releases
from cloud.store.rollouts import Rollouts
from shared.api import RolloutRequest
from shared.clock import Clock
from shared.errors import RefusedError

log = logging.getLogger(__name__)

ACTOR = "coordinator"


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """One turn of every release that is not out yet."""

    database: Database
    repository: Repository
    clock: Clock

    def turn(self) -> None:
        """Sign what waits for it, then order the rollouts that the model lines ask for.

        Raises:
            HinterlandError: a key or the disk failed; the next turn tries again.
        """
        with self.database.read() as connection:
            waiting = Releases(connection).unpublished()
        for row in waiting:
            self._publish(row)
        self._order_rollouts()

    def _publish(self, row: ReleaseRow) -> None:
        """Sign, then note it: signing the same bytes again changes nothing."""
        self.repository.publish_release(row.document())
        signers = self.repository.signers()
        with self.database.write() as connection:
            at = self.clock.now()
            Releases(connection).published(row.id, signers=signers, at=at)
            AuditLog(connection).add(
                at=at, actor=ACTOR, action="release.publish", subject=row.id, after={"signers": signers}
            )
            sizes = {variant.name: variant.size for variant in row.document().variants}
            text = f"{row.id} is signed and published"
            Events(connection).add("release.published", row.id, text, at=at, digest=row.digest, sizes=sizes)

    def _order_rollouts(self) -> None:
        with self.database.read() as connection:
            due = [
                (release, fleet)
                for row in Lines(connection).all()
                for release in _newest(Releases(connection).all(model=row.name))
                for fleet in line_from(row.document).fleets
                if not any(known.release == release for known in Rollouts(connection).all(fleet=fleet))
            ]
        for release, fleet in due:
            self._order(release, fleet)

    def _order(self, release: str, fleet: str) -> None:
        request = RolloutRequest(release=release, fleet=fleet, reason="the model line asks for its newest release")
        try:
            with self.database.write() as connection:
                order_rollout(connection, request, fleet=fleet, at=self.clock.now(), by=ACTOR)
        except RefusedError as error:
            log.warning("no rollout of %s to %s: %s %s", release, fleet, error, error.hint)


def _newest(rows: list[ReleaseRow]) -> list[str]:
    """The newest published release, unless it only brings older bytes back to those who left them."""
    published = [row for row in rows if row.published_at is not None]
    newest = max(published, key=lambda row: row.counter, default=None)
    return [newest.id] if newest is not None and not newest.replaces else []
