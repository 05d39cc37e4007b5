"""Central jobs: first weights and evaluations from data of the company's own."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import Depends, Query

from cloud.access.principal import Action, Principal
from cloud.api.bodies import Answer, Routes, body, reply
from cloud.api.services import Parts, Reason, SharedViewer, allow
from cloud.api.views.jobs import job_view
from cloud.loop.central_orders import cancel_job, order_evaluation
from cloud.store.jobs import OPEN, CentralJobs
from shared.jobs import Cancellation, CentralJob, EvaluationRequest, Said

router = Routes(tags=["jobs"])

Everywhere = Annotated[Principal, allow(Action.TRAIN)]
"""What the company holds itself belongs to no fleet, so whoever works on it must be allowed to train in all."""


@router.get("/jobs")
def jobs(parts: Parts, _by: SharedViewer, subject: str | None = None) -> Answer[list[CentralJob]]:
    """Every central job, oldest first, or those about one run or release."""
    with parts.database.read() as connection:
        return reply([job_view(row) for row in CentralJobs(connection).all(subject=subject)])


@router.get("/jobs/{job}")
def one_job(parts: Parts, _by: SharedViewer, job: str) -> Answer[CentralJob]:
    """One central job."""
    with parts.database.read() as connection:
        return reply(job_view(CentralJobs(connection).get(job)))


@router.get("/jobs/{job}/log")
def log(parts: Parts, by: Everywhere, job: str, since: Annotated[int, Query(ge=0, lt=1 << 63)] = 0) -> Answer[Said]:
    """What its processes said from a byte on; ask again from `next`."""
    parts.gate.require(by, Action.TRAIN)
    with parts.database.read() as connection:
        row = CentralJobs(connection).get(job)
    piece = parts.job_log(row, since)
    over = piece.over and row.state not in OPEN
    return reply(Said(text=piece.said.decode(errors="replace"), next=piece.next, over=over))


@router.post("/jobs/{job}/cancel")
def cancel(
    parts: Parts,
    by: Everywhere,
    job: str,
    reason: Reason,
    request: Annotated[Cancellation, Depends(body(Cancellation))],
) -> Answer[CentralJob]:
    """Want no more of a job; a run that waits for it fails."""
    parts.gate.require(by, Action.TRAIN)
    with parts.database.write() as connection:
        why = request.reason or reason
        row = cancel_job(connection, job, at=parts.clock.now(), by=by.actor, reason=why)
    parts.wake()
    return reply(job_view(row))


@router.post("/evaluations", status_code=201)
def evaluate(
    parts: Parts,
    by: Everywhere,
    reason: Reason,
    request: Annotated[EvaluationRequest, Depends(body(EvaluationRequest))],
) -> Answer[CentralJob]:
    """Have a release, or a run's candidate, held against a data set of the company's own; it decides nothing."""
    parts.gate.require(by, Action.TRAIN)
    wanted = msgspec.structs.replace(request, reason=request.reason or reason)
    with parts.database.write() as connection:
        row = order_evaluation(connection, wanted, at=parts.clock.now(), by=by.actor)
    parts.wake()
    return reply(job_view(row), status=201)
