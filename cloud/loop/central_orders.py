"""Orders of central jobs: first weights for a run, and files held against data of the company's own."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from cloud.audit.log import AuditLog
from cloud.central.terms import check_data
from cloud.jobs.port import Kind
from cloud.models.line import line_from
from cloud.store.events import Events
from cloud.store.jobs import OPEN, CentralJobs, JobRow, JobState
from cloud.store.lines import Lines
from cloud.store.releases import Releases
from cloud.store.runs import Run, Runs
from shared.errors import RefusedError
from shared.jobs import EvaluationRequest


def warm_job(run: str) -> str:
    """Id of the job that makes a run's first weights."""
    return f"{run}-warm"


def central_job(run: str) -> str:
    """Id of the job that judges a run's candidate because its line says so."""
    return f"{run}-central"


def order_warm_start(connection: Connection, run: Run, *, at: float) -> JobRow:
    """Have first weights made for a run; nothing happens when that was ordered before."""
    terms = run.spec["warm_start"]
    order = {"data": terms["data"], "epochs": terms.get("epochs", 1), "seed": run.spec["seed"]}
    return _once(connection, warm_job(run.id), Kind.WARM_START, run, order, at=at)


def order_judgement(connection: Connection, run: Run, *, data: str, at: float) -> JobRow:
    """Have a run's candidate judged as its line says; nothing happens when that was ordered before."""
    return _once(connection, central_job(run.id), Kind.EVALUATION, run, {"data": data, "of": "run"}, at=at)


def order_evaluation(connection: Connection, request: EvaluationRequest, *, at: float, by: str) -> JobRow:
    """Have a release, or a run's candidate, held against a data set.

    Raises:
        UnknownError: there is no such release or run.
        RefusedError: neither or both are named, or the run has no candidate.
        ContractError: the data's name is none.
    """
    if bool(request.release) == bool(request.run):
        raise RefusedError("an evaluation is of one thing", hint="Name a release or a run.")
    data = check_data(request.data)
    if request.release:
        release = Releases(connection).get(request.release)
        subject, model = release.id, release.model
        kind = release.document().schema.kind
    else:
        run = Runs(connection).get(request.run)
        if not run.result and run.state not in _JUDGED:
            raise RefusedError(f"{run.id} has no candidate", hint="`hinterland runs` says how far it is.")
        subject, model = run.id, run.model
        kind = line_from(Lines(connection).get(run.model).document).schema.kind
    if kind != "classification":
        raise RefusedError(f"{subject} is for {kind}; only classifiers can be held against a data set")
    store = CentralJobs(connection)
    number = sum(row.kind is Kind.EVALUATION for row in store.all(subject=subject)) + 1
    row = JobRow(
        id=f"{subject}-evaluation-{number}",
        kind=Kind.EVALUATION,
        subject=subject,
        model=model,
        by=by,
        reason=request.reason,
        order={"data": data, "of": "release" if request.release else "run"},
        created_at=at,
    )
    _add(connection, row)
    return row


def cancel_job(connection: Connection, job: str, *, at: float, by: str, reason: str) -> JobRow:
    """Want no more of a job; a later turn ends its process.

    Raises:
        UnknownError: there is none of that name.
        RefusedError: it is over.
    """
    store = CentralJobs(connection)
    row = store.get(job)
    if row.state not in OPEN:
        raise RefusedError(f"{job} is {row.state} already", hint="`hinterland jobs` shows what runs.")
    store.change(job, state=JobState.CANCELLING.value)
    AuditLog(connection).add(
        at=at,
        actor=by,
        action="job.cancel",
        subject=job,
        reason=reason,
        before={"state": row.state.value},
        after={"state": JobState.CANCELLING.value},
    )
    Events(connection).add("job.cancel", job, f"{job} is to end: {reason}" if reason else f"{job} is to end", at=at)
    return store.get(job)


_JUDGED = ("judged", "released", "rejected")


def _once(connection: Connection, job: str, kind: Kind, run: Run, order: dict[str, Any], *, at: float) -> JobRow:
    store = CentralJobs(connection)
    held = store.find(job)
    if held is not None:
        return held
    row = JobRow(id=job, kind=kind, subject=run.id, model=run.model, by="coordinator", order=order, created_at=at)
    _add(connection, row)
    return row


def _add(connection: Connection, row: JobRow) -> None:
    CentralJobs(connection).add(row)
    AuditLog(connection).add(
        at=row.created_at,
        actor=row.by,
        action="job.create",
        subject=row.id,
        reason=row.reason,
        after={"kind": row.kind.value, "subject": row.subject, **row.order},
    )
    text = f"{row.id} is to begin, on {row.order['data']}"
    Events(connection).add("job.queued", row.id, text, at=row.created_at, about=row.subject)
