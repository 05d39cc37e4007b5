"""What people said of rollouts that wait for them."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection

from cloud.access.approvals import Standing, Vote, standing
from cloud.access.principal import Principal
from cloud.audit.log import AuditLog
from cloud.rollout.document import document_of
from cloud.rollout.state import TERMINAL, Rollout
from cloud.store.approvals import Votes
from cloud.store.events import Events
from shared.errors import RefusedError
from shared.ids import Digest, sha256


def spec_digest(rollout: Rollout) -> Digest:
    """What is voted on: the document, so that a changed one needs new votes."""
    return sha256(msgspec.json.encode(document_of(rollout.spec), order="sorted"))


def rollout_standing(connection: Connection, rollout: Rollout) -> Standing:
    """Where a rollout is with its approvers."""
    votes = Votes.on_rollouts(connection)
    return standing(
        votes.of(rollout.id),
        digest=spec_digest(rollout),
        needed=rollout.spec.approvals,
        authors=votes.authors(rollout.id),
    )


def approved(connection: Connection, rollout: Rollout) -> bool:
    """Whether a rollout may begin, as far as people are concerned."""
    return not rollout.spec.approvals or rollout_standing(connection, rollout) is Standing.APPROVED


def vote(
    connection: Connection, rollout: Rollout, *, by: Principal, digest: str, yes: bool, reason: str, at: float
) -> Standing:
    """Take what somebody says of a rollout; saying something else later replaces it.

    Raises:
        RefusedError: it is over, waits for nobody, is not what was looked at, or was ordered by the same person.
    """
    hint = "`hinterland rollouts` shows which wait for somebody."
    if rollout.state in TERMINAL or not rollout.spec.approvals:
        raise RefusedError(f"{rollout.id} waits for nobody's approval", hint=hint)
    if digest != spec_digest(rollout):
        raise RefusedError(f"{rollout.id} is not what was looked at", hint="Look at it again, then decide.")
    votes = Votes.on_rollouts(connection)
    if rollout.spec.approvals > 1 and yes and by.actor in votes.authors(rollout.id):
        raise RefusedError(f"{by.name} ordered {rollout.id}, and others approve it", hint="Ask somebody else.")
    votes.put(Vote(subject=rollout.id, principal=by.actor, digest=digest, approved=yes, reason=reason, at=at))
    word, stands = "approve" if yes else "reject", rollout_standing(connection, rollout)
    AuditLog(connection).add(
        at=at,
        actor=by.actor,
        action=f"rollout.{word}",
        subject=rollout.id,
        reason=reason,
        after={"digest": digest, "standing": str(stands)},
    )
    Events(connection).add(f"rollout.{word}", rollout.id, f"{by.name} {word}s {rollout.id}", at=at)
    return stands
