"""Populations' privacy budgets: what is spent, and what was promised."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends
from sqlalchemy import Connection

from cloud.access.principal import Action, Principal
from cloud.api.bodies import Answer, Routes, body, reply
from cloud.api.services import Parts, Reason, Viewer, allow
from cloud.api.sight import Sight
from cloud.loop import privacy
from cloud.store.privacy import Privacy
from shared.privacy import Budget, Disclosure, Population

router = Routes(prefix="/privacy", tags=["runs"])


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
    """Promise a population a budget: no later order may ask for more."""
    parts.gate.require(by, Action.CHANGE_LINE)
    with parts.database.write() as connection:
        why = request.reason or reason
        privacy.set_budget(connection, population, request, at=parts.clock.now(), by=by.actor, reason=why)
        return reply(_view(connection, population, None))


def _view(connection: Connection, population: str, seen: frozenset[str] | None) -> Population:
    store = Privacy(connection)
    rows, promised = store.disclosures(population), store.budget(population)
    last = max(rows, key=lambda row: row.epsilon, default=None)
    return Population(
        population=population,
        epsilon=last.epsilon if last else 0.0,
        delta=last.delta if last else promised.delta if promised else 0.0,
        budget_epsilon=promised.epsilon if promised else None,
        budget_delta=promised.delta if promised else None,
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
