"""The publication gate: what satisfies the admission policy is signed and published, and goes its way to its fleets.

A release is signed twice, with keys that have nothing in common: by a model key, which vouches for the bytes, and by
the releases role of the TUF repository, which vouches for the release. A device asks for both.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from cloud.access.approvers import Approvers
from cloud.audit.log import AuditLog
from cloud.loop.attesting import Admission
from cloud.loop.orders import order_rollout
from cloud.models.line import line_from
from cloud.release.keys import KeyRing
from cloud.release.modelsig import model_signer, sign_models
from cloud.release.policy import Violation
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
    keys: KeyRing
    admission: Admission
    clock: Clock
    approvers: Approvers | None = None
    """People whose word a release waits for."""

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
        """Judge, sign, then note it: signing the same bytes again changes nothing."""
        if not self._approved(row):
            return
        violations = self.admission.judge(row)
        if violations:
            self._refuse(row, violations)
            return
        row = self._sign_models(row)
        self.repository.publish_release(row.document())
        signers = self.repository.signers()
        with self.database.write() as connection:
            at = self.clock.now()
            Releases(connection).published(row.id, signers=signers, at=at)
            AuditLog(connection).add(
                at=at,
                actor=ACTOR,
                action="release.publish",
                subject=row.id,
                after={"signers": signers, "digest": row.digest},
            )
            sizes = {variant.name: variant.size for variant in row.document().variants}
            text = f"{row.id} is signed and published"
            Events(connection).add("release.published", row.id, text, at=at, digest=row.digest, sizes=sizes)

    def _approved(self, row: ReleaseRow) -> bool:
        """Whether people let it pass; one that brings older bytes back was approved when they were new."""
        return bool(row.replaces) or self.approvers is None or self.approvers.approved(row)

    def _sign_models(self, row: ReleaseRow) -> ReleaseRow:
        """Sign each variant and keep that; a release that waits with good signatures keeps those it has."""
        release = row.document()
        signed = sign_models(release, model_signer(self.keys, pinned=self.repository.model_keys()))
        if signed == release:
            return row
        with self.database.write() as connection:
            return Releases(connection).signed(signed)

    def _refuse(self, row: ReleaseRow, violations: Sequence[Violation]) -> None:
        """Say once which rules it breaks; it is judged again at every turn, for a policy may change."""
        broken = "; ".join(map(str, violations))
        if broken == row.refusal:
            return
        with self.database.write() as connection:
            at = self.clock.now()
            rules = sorted({violation.rule for violation in violations})
            Releases(connection).refused(row.id, broken)
            AuditLog(connection).add(
                at=at, actor=ACTOR, action="release.refuse", subject=row.id, reason=broken, after={"rules": rules}
            )
            Events(connection).add(
                "release.refused", row.id, f"{row.id} is not published: {broken}", at=at, rules=rules
            )

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
