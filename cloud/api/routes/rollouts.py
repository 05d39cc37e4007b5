"""Rollouts."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import Depends, Query

from cloud.access.principal import Action, Principal
from cloud.access.rollout_approvers import vote
from cloud.api.bodies import Answer, Routes, body, reply
from cloud.api.services import Parts, Reason, Services, Viewer, allow
from cloud.api.sight import Sight
from cloud.api.views.rollouts import applied_view, device_rows, rollout_view
from cloud.loop.interventions import Intervention, intervene
from cloud.loop.orders import order, order_rollout
from cloud.rollout.document import spec_from
from cloud.store.rollouts import Rollouts
from shared.access import Verdict
from shared.api import Applied, Revocation, Rollout, RolloutDevice, RolloutRequest
from shared.ids import check_name

router = Routes(prefix="/rollouts", tags=["rollouts"])

Operator = Annotated[Principal, allow(Action.ROLL_OUT)]
Approver = Annotated[Principal, allow(Action.APPROVE_RELEASE)]
Why = Annotated[Revocation, Depends(body(Revocation))]
Said = Annotated[Verdict, Depends(body(Verdict))]
Limit = Annotated[int, Query(ge=1, le=1000)]


@router.post("", status_code=201)
def start(
    parts: Parts, by: Operator, reason: Reason, request: Annotated[RolloutRequest, Depends(body(RolloutRequest))]
) -> Answer[Rollout]:
    """Bring a release to a fleet; a rollout of the same model line that is under way is superseded."""
    parts.gate.require(by, Action.ROLL_OUT, fleet=request.fleet or parts.fleet)
    wanted = msgspec.structs.replace(request, reason=request.reason or reason)
    with parts.database.write() as connection:
        rollout = order_rollout(connection, wanted, fleet=parts.fleet, at=parts.clock.now(), by=by.actor)
        view = rollout_view(connection, rollout)
    parts.wake()
    return reply(view, status=201)


@router.post("/apply")
def apply(
    parts: Parts,
    by: Operator,
    reason: Reason,
    document: Annotated[dict[str, Any], Depends(body(dict[str, Any]))],
    dry_run: bool = False,
) -> Answer[Applied]:
    """Begin the rollout that a document describes, or change the one of the same release that is under way."""
    spec = spec_from(document)
    spec = msgspec.structs.replace(spec, fleet=spec.fleet or parts.fleet, reason=spec.reason or reason)
    parts.gate.require(by, Action.ROLL_OUT, fleet=spec.fleet)
    with parts.database.rehearse() if dry_run else parts.database.write() as connection:
        before = Rollouts(connection).all(fleet=spec.fleet)
        after = order(connection, spec, at=parts.clock.now(), by=by.actor)
        view = applied_view(before, after)
    if not dry_run:
        parts.wake()
    return reply(view)


@router.get("")
def rollouts(parts: Parts, by: Viewer) -> Answer[list[Rollout]]:
    """Every rollout, oldest first, without its devices."""
    with parts.database.read() as connection:
        sight = Sight(connection, parts, by)
        found = [rollout for rollout in Rollouts(connection).all() if sight.sees(rollout.fleet)]
        return reply([rollout_view(connection, rollout, whole=False) for rollout in found])


@router.get("/{rollout}")
def one_rollout(parts: Parts, by: Viewer, rollout: str, devices: bool = True) -> Answer[Rollout]:
    """One rollout, with a line for each of its devices unless `devices` is false."""
    with parts.database.read() as connection:
        return reply(rollout_view(connection, Sight(connection, parts, by).rollout(rollout), whole=devices))


@router.get("/{rollout}/devices")
def devices_of(
    parts: Parts, by: Viewer, rollout: str, *, after: str = "", limit: Limit = 500, failed: bool = False
) -> Answer[list[RolloutDevice]]:
    """A page of its devices by name, those after a name; only those that failed, if asked."""
    with parts.database.read() as connection:
        found = Sight(connection, parts, by).rollout(rollout)
        start = check_name(after) if after else ""
        rows = Rollouts(connection).page(found.id, after=start, limit=limit, bad=failed)
        return reply(device_rows(rows))


@router.post("/{rollout}/pause")
def pause(parts: Parts, by: Operator, rollout: str, reason: Reason, request: Why) -> Answer[Rollout]:
    """Ask no more devices until it is resumed; devices that fail still halt it."""
    return _intervene(parts, by, rollout, Intervention.PAUSE, reason=request.reason or reason)


@router.post("/{rollout}/resume")
def resume(parts: Parts, by: Operator, rollout: str, reason: Reason, request: Why) -> Answer[Rollout]:
    """Go on; the time of the pause counts against no deadline."""
    return _intervene(parts, by, rollout, Intervention.RESUME, reason=request.reason or reason)


@router.post("/{rollout}/abort")
def abort(parts: Parts, by: Operator, rollout: str, reason: Reason, request: Why) -> Answer[Rollout]:
    """End it, and send back the devices that were asked."""
    return _intervene(parts, by, rollout, Intervention.ABORT, reason=request.reason or reason)


@router.post("/{rollout}/rollback")
def rollback(parts: Parts, by: Operator, rollout: str, reason: Reason, request: Why) -> Answer[Rollout]:
    """Give everybody what ran before, also after it is done."""
    return _intervene(parts, by, rollout, Intervention.ROLLBACK, reason=request.reason or reason)


@router.post("/{rollout}/approve")
def approve(parts: Parts, by: Approver, rollout: str, reason: Reason, said: Said) -> Answer[Rollout]:
    """Say yes to the document that was looked at."""
    return _vote(parts, by, rollout, said, reason=said.reason or reason, yes=True)


@router.post("/{rollout}/reject")
def reject(parts: Parts, by: Approver, rollout: str, reason: Reason, said: Said) -> Answer[Rollout]:
    """Say no; one no keeps the rollout from beginning until whoever said it says otherwise."""
    return _vote(parts, by, rollout, said, reason=said.reason or reason, yes=False)


def _intervene(parts: Services, by: Principal, name: str, what: Intervention, *, reason: str) -> Answer[Rollout]:
    with parts.database.write() as connection:
        sight = Sight(connection, parts, by)
        found = sight.rollout(name)
        sight.require(Action.ROLL_OUT, {found.fleet})
        after = intervene(connection, found, what, by=by.actor, reason=reason, at=parts.clock.now())
        view = rollout_view(connection, after, whole=False)
    parts.wake()
    return reply(view)


def _vote(parts: Services, by: Principal, name: str, said: Verdict, *, reason: str, yes: bool) -> Answer[Rollout]:
    with parts.database.write() as connection:
        sight = Sight(connection, parts, by)
        found = sight.rollout(name)
        sight.require(Action.APPROVE_RELEASE, {found.fleet})
        vote(connection, found, by=by, digest=said.digest, yes=yes, reason=reason, at=parts.clock.now())
        view = rollout_view(connection, found, whole=False)
    parts.wake()
    return reply(view)
