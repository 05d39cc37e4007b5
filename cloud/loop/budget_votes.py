"""What people say of a greater privacy budget that waits for them; never its proposer."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection

from cloud.access.approvals import Standing, Vote, standing
from cloud.access.principal import Principal
from cloud.audit.log import AuditLog
from cloud.loop.privacy import tell_budget
from cloud.store.approvals import Votes
from cloud.store.privacy import BudgetRow, Privacy
from shared.errors import RefusedError
from shared.ids import Digest, sha256


def proposal_digest(row: BudgetRow) -> Digest:
    """What is voted on: who proposed which numbers when, so that another proposal needs new votes."""
    return sha256(msgspec.json.encode(row, order="sorted"))


def vote(
    connection: Connection,
    population: str,
    *,
    by: Principal,
    digest: str,
    yes: bool,
    reason: str,
    needed: int,
    at: float,
) -> Standing:
    """Take what somebody says of a proposal; the vote that suffices makes it the promise.

    Raises:
        RefusedError: nothing waits, it is not what was looked at, or the same person proposed it.
    """
    store, votes = Privacy(connection), Votes.on_budgets(connection)
    row, held = store.proposal(population), store.budget(population)
    if row is None:
        raise RefusedError(
            f"no greater budget of {population[:80]!r} waits", hint="`hinterland privacy list` shows which do."
        )
    if digest != proposal_digest(row):
        raise RefusedError(f"the proposal for {population} is not what was looked at", hint="Look again, then decide.")
    if yes and by.actor == row.by:
        raise RefusedError(f"{by.name} proposed it, and others approve it", hint="Ask somebody else.")
    votes.put(Vote(subject=population, principal=by.actor, digest=digest, approved=yes, reason=reason, at=at))
    word = "approve" if yes else "reject"
    stands = standing(votes.of(population), digest=digest, needed=max(needed, 1), authors={row.by})
    AuditLog(connection).add(
        at=at,
        actor=by.actor,
        action=f"privacy.{word}",
        subject=population,
        reason=reason,
        after={"digest": digest, "standing": str(stands)},
    )
    if stands is Standing.APPROVED:
        promised = msgspec.structs.replace(row, at=at)
        store.put_budget(promised)
        tell_budget(connection, promised, before=held)
    return stands
