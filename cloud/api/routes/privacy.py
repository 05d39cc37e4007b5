"""Populations' privacy budgets: what is spent, and what was promised."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends
from sqlalchemy import Connection

from cloud.access.principal import Action, Principal
from cloud.api.bodies import Answer, Routes, body, reply
from cloud.api.services import Parts, Reason, Services, Viewer, allow
from cloud.api.sight import Sight
from cloud.loop import budget_votes, privacy
from cloud.loop.budget_votes import proposal_digest
from cloud.store.approvals import Votes
from cloud.store.privacy import Privacy
from shared.access import Verdict, Vote
from shared.privacy import Budget, Disclosure, Population

router = Routes(prefix="/privacy", tags=["runs"])

Approver = Annotated[Principal, allow(Action.APPROVE_RELEASE)]
Said = Annotated[Verdict, Depends(body(Verdict))]


@router.get("")
def populations(parts: Parts, by: Viewer) -> Answer[list[Population]]:
    """Every population with a budget or a disclosure; those of whose runs nothing may be seen are not there."""
    with parts.database.read() as connection:
        seen = Sight(connection, parts, by).subjects()
        found = [_view(connection, name, seen) for name in Privacy(connection).populations()]
        return reply([each for each in found if seen is None or each.disclosures])


@router.put("/{population}")
def budget(
    parts: Parts,
    by: Annotated[Principal, allow(Action.CHANGE_LINE)],
    population: str,
    reason: Reason,
    request: Annotated[Budget, Depends(body(Budget))],
) -> Answer[Population]:
    """Promise a population a budget: no later order may ask for more. A greater one may have to wait for others."""
    parts.gate.require(by, Action.CHANGE_LINE)
    with parts.database.write() as connection:
        why = request.reason or reason
        privacy.set_budget(
            connection,
            population,
            request,
            at=parts.clock.now(),
            by=by.actor,
            reason=why,
            needed=parts.budget_approvals,
        )
        return reply(_view(connection, population, None))


@router.post("/{population}/approve")
def approve(parts: Parts, by: Approver, population: str, reason: Reason, said: Said) -> Answer[Population]:
    """Say yes to the proposal that was looked at."""
    return _vote(parts, by, population, said, reason=said.reason or reason, approved=True)


@router.post("/{population}/reject")
def reject(parts: Parts, by: Approver, population: str, reason: Reason, said: Said) -> Answer[Population]:
    """Say no; one no keeps the budget as it is until whoever said it says otherwise."""
    return _vote(parts, by, population, said, reason=said.reason or reason, approved=False)


def _vote(
    parts: Services, by: Principal, population: str, said: Verdict, *, reason: str, approved: bool
) -> Answer[Population]:
    parts.gate.require(by, Action.APPROVE_RELEASE)
    with parts.database.write() as connection:
        budget_votes.vote(
            connection,
            population,
            by=by,
            digest=said.digest,
            yes=approved,
            reason=reason,
            needed=parts.budget_approvals,
            at=parts.clock.now(),
        )
        return reply(_view(connection, population, None))


def _view(connection: Connection, population: str, seen: frozenset[str] | None) -> Population:
    store = Privacy(connection)
    rows, promised = store.disclosures(population), store.budget(population)
    waiting = store.proposal(population)
    digest = proposal_digest(waiting) if waiting else ""
    last = max(rows, key=lambda row: row.epsilon, default=None)
    return Population(
        population=population,
        epsilon=last.epsilon if last else 0.0,
        delta=last.delta if last else promised.delta if promised else 0.0,
        budget_epsilon=promised.epsilon if promised else None,
        budget_delta=promised.delta if promised else None,
        proposed_epsilon=waiting.epsilon if waiting else None,
        proposed_delta=waiting.delta if waiting else None,
        proposed_by=waiting.by if waiting else "",
        proposal=digest,
        votes=[
            Vote(by=vote.principal, approved=vote.approved, reason=vote.reason, at=vote.at)
            for vote in Votes.on_budgets(connection).of(population)
            if waiting and vote.digest == digest
        ],
        disclosures=[
            Disclosure(
                run=row.run,
                round=row.round,
                at=row.at,
                multiplier=row.multiplier,
                epsilon=row.epsilon,
                delta=row.delta,
            )
            for row in rows
            if seen is None or row.run in seen
        ],
    )
