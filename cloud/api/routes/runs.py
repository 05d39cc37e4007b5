"""Federated runs."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from cloud.api.bodies import body, reply
from cloud.api.services import Operator, Parts
from cloud.api.views.runs import run_view
from cloud.loop.run_orders import order_run
from cloud.store.runs import Runs
from shared.api import RunRequest

router = APIRouter(prefix="/runs", tags=["runs"])


@router.post("")
def start(parts: Parts, by: Operator, request: Annotated[RunRequest, Depends(body(RunRequest))]) -> Response:
    """Queue a run of a model line."""
    with parts.database.write() as connection:
        run = order_run(connection, request, fleet=parts.fleet, at=parts.clock.now(), by=by.actor)
        view = run_view(connection, run)
    parts.wake()
    return reply(view, status=201)


@router.get("")
def runs(parts: Parts, _by: Operator, model: str | None = None) -> Response:
    """Every run with its rounds, oldest first."""
    with parts.database.read() as connection:
        return reply([run_view(connection, run) for run in Runs(connection).all(model=model)])


@router.get("/{run}")
def one_run(parts: Parts, _by: Operator, run: str) -> Response:
    """One run with its rounds."""
    with parts.database.read() as connection:
        return reply(run_view(connection, Runs(connection).get(run)))
