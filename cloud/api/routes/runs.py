"""Federated runs."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import Depends, Query

from cloud.access.principal import Action, Principal
from cloud.api.bodies import Answer, Routes, body, reply
from cloud.api.services import Parts, Reason, Viewer, allow
from cloud.api.sight import Sight
from cloud.api.views.runs import progress_view, run_view
from cloud.loop.run_orders import order_run
from cloud.store.runs import Runs
from shared.api import RoundProgress, Run, RunRequest

router = Routes(prefix="/runs", tags=["runs"])


@router.post("", status_code=201)
def start(
    parts: Parts,
    by: Annotated[Principal, allow(Action.TRAIN)],
    reason: Reason,
    request: Annotated[RunRequest, Depends(body(RunRequest))],
) -> Answer[Run]:
    """Queue a run of a model line; whoever orders it must be allowed to in the fleet of each device that trains."""
    wanted = msgspec.structs.replace(request, reason=request.reason or reason)
    with parts.database.write() as connection:
        sight = Sight(connection, parts, by)
        sight.check_named(request)
        run = order_run(connection, wanted, fleet=parts.fleet, at=parts.clock.now(), by=by.actor)
        sight.require(Action.TRAIN, sight.fleets_of(run) or {""})
        view = run_view(connection, run)
    parts.wake()
    return reply(view, status=201)


@router.get("")
def runs(parts: Parts, by: Viewer, model: str | None = None) -> Answer[list[Run]]:
    """Every run with its rounds, oldest first."""
    with parts.database.read() as connection:
        sight = Sight(connection, parts, by)
        found = [run for run in Runs(connection).all(model=model) if sight.sees_run(run)]
        return reply([run_view(connection, run) for run in found])


@router.get("/{run}")
def one_run(parts: Parts, by: Viewer, run: str) -> Answer[Run]:
    """One run with its rounds."""
    with parts.database.read() as connection:
        return reply(run_view(connection, Sight(connection, parts, by).run(run)))


@router.get("/{run}/progress")
def progress(parts: Parts, by: Viewer, run: str, since: Annotated[int, Query(ge=0)] = 0) -> Answer[list[RoundProgress]]:
    """How far each client of each round is, from round `since` on."""
    with parts.database.read() as connection:
        return reply(progress_view(connection, Sight(connection, parts, by).run(run), since=since))
