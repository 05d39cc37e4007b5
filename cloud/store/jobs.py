"""Central jobs: what was ordered of data of the company's own, and what came of it."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec
from sqlalchemy import Connection, select, update

from cloud.jobs.port import Kind
from cloud.store.job_tables import jobs
from cloud.store.rows import UnknownError, columns, many, one


class JobState(StrEnum):
    """Where a central job is; the last three are terminal."""

    QUEUED = "queued"
    RUNNING = "running"
    CANCELLING = "cancelling"
    """An operator wants no more of it; its process is being ended."""

    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


OPEN = (JobState.QUEUED, JobState.RUNNING, JobState.CANCELLING)


class JobRow(msgspec.Struct, frozen=True, kw_only=True):
    """One central job."""

    id: str
    kind: Kind
    subject: str
    """The run or release it is about."""

    model: str
    state: JobState = JobState.QUEUED
    by: str
    reason: str = ""
    """Why it was ordered; why it failed, once it has."""

    order: dict[str, Any] = {}
    result: dict[str, Any] = {}
    attempts: int = 0
    """Processes started for it, counted before each start."""

    created_at: float
    started_at: float | None = None
    finished_at: float | None = None


class CentralJobs:
    """Central jobs in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, row: JobRow) -> None:
        self._connection.execute(jobs.insert().values(**columns(row)))

    def change(self, job: str, **values: Any) -> None:
        """Set columns of a job."""
        self._connection.execute(update(jobs).where(jobs.c.id == job).values(**values))

    def find(self, job: str) -> JobRow | None:
        """The job, or None."""
        return one(self._connection, select(jobs).where(jobs.c.id == job), JobRow)

    def get(self, job: str) -> JobRow:
        """The job.

        Raises:
            UnknownError: there is none of that name.
        """
        found = self.find(job)
        if found is None:
            raise UnknownError(f"no job {job[:80]!r}", hint="`hinterland jobs` lists them.")
        return found

    def all(self, *, subject: str | None = None) -> list[JobRow]:
        """Every job, oldest first, or those about one run or release."""
        query = select(jobs).order_by(jobs.c.created_at, jobs.c.id)
        return many(self._connection, query if subject is None else query.where(jobs.c.subject == subject), JobRow)

    def open(self) -> list[JobRow]:
        """Those not yet at a terminal state, oldest first."""
        states = [state.value for state in OPEN]
        query = select(jobs).where(jobs.c.state.in_(states)).order_by(jobs.c.created_at, jobs.c.id)
        return many(self._connection, query, JobRow)
