"""Rollouts."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import Depends

from cloud.access.principal import Action, Principal
from cloud.api.bodies import Answer, Routes, body, reply
from cloud.api.services import Parts, Reason, Viewer, allow
from cloud.api.sight import Sight
from cloud.api.views.rollouts import rollout_view
from cloud.loop.orders import order_rollout
from cloud.store.rollouts import Rollouts
from shared.api import Rollout, RolloutRequest

router = Routes(prefix="/rollouts", tags=["rollouts"])


@router.post("", status_code=201)
def start(
    parts: Parts,
    by: Annotated[Principal, allow(Action.ROLL_OUT)],
    reason: Reason,
    request: Annotated[RolloutRequest, Depends(body(RolloutRequest))],
) -> Answer[Rollout]:
    """Bring a release to a fleet; a rollout of the same model line that is under way is superseded."""
    parts.gate.require(by, Action.ROLL_OUT, fleet=request.fleet or parts.fleet)
    wanted = msgspec.structs.replace(request, reason=request.reason or reason)
    with parts.database.write() as connection:
        rollout = order_rollout(connection, wanted, fleet=parts.fleet, at=parts.clock.now(), by=by.actor)
        view = rollout_view(connection, rollout)
    parts.wake()
    return reply(view, status=201)


@router.get("")
def rollouts(parts: Parts, by: Viewer) -> Answer[list[Rollout]]:
    """Every rollout, oldest first."""
    with parts.database.read() as connection:
        sight = Sight(connection, parts, by)
        found = [rollout for rollout in Rollouts(connection).all() if sight.sees(rollout.fleet)]
        return reply([rollout_view(connection, rollout) for rollout in found])


@router.get("/{rollout}")
def one_rollout(parts: Parts, by: Viewer, rollout: str) -> Answer[Rollout]:
    """One rollout."""
    with parts.database.read() as connection:
        return reply(rollout_view(connection, Sight(connection, parts, by).rollout(rollout)))
