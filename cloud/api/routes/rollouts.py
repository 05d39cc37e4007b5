"""Rollouts."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from cloud.api.bodies import body, reply
from cloud.api.services import Operator, Parts
from cloud.api.views.rollouts import rollout_view
from cloud.loop.orders import order_rollout
from cloud.store.rollouts import Rollouts
from shared.api import RolloutRequest

router = APIRouter(prefix="/rollouts", tags=["rollouts"])


@router.post("")
def start(parts: Parts, by: Operator, request: Annotated[RolloutRequest, Depends(body(RolloutRequest))]) -> Response:
    """Bring a release to a fleet; a rollout of the same model line that is under way is superseded."""
    with parts.database.write() as connection:
        rollout = order_rollout(connection, request, fleet=parts.fleet, at=parts.clock.now(), by=by.actor)
        view = rollout_view(connection, rollout)
    parts.wake()
    return reply(view, status=201)


@router.get("")
def rollouts(parts: Parts, _by: Operator) -> Response:
    """Every rollout, oldest first."""
    with parts.database.read() as connection:
        return reply([rollout_view(connection, rollout) for rollout in Rollouts(connection).all()])


@router.get("/{rollout}")
def one_rollout(parts: Parts, _by: Operator, rollout: str) -> Response:
    """One rollout."""
    with parts.database.read() as connection:
        return reply(rollout_view(connection, Rollouts(connection).get(rollout)))
