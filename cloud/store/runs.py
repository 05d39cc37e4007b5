"""Federated runs and their rounds."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec
from sqlalchemy import Connection, func, select, update

from cloud.store.rows import UnknownError, columns, many, one
from cloud.store.tables import rounds, runs


class RunState(StrEnum):
    """Where a run is; the last three are terminal."""

    QUEUED = "queued"
    WARMING = "warming"
    """Its first weights are being made, from data of the company's own."""

    RUNNING = "running"
    JUDGED = "judged"
    """The job has ended with a candidate that cleared the bar; its release is not published yet."""

    RELEASED = "released"
    REJECTED = "rejected"
    FAILED = "failed"


OPEN = (RunState.QUEUED, RunState.WARMING, RunState.RUNNING, RunState.JUDGED)


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One federated run."""

    id: str
    model: str
    number: int
    """Counts the runs of a model line, from 1."""

    state: RunState
    cause: str
    """`operator`, `drift`, …"""

    reason: str = ""
    spec: dict[str, Any] = {}
    result: dict[str, Any] = {}
    release: str = ""
    followed: int = 0
    """Bytes of its ledger that are taken into the database already."""

    attempts: int = 0
    """Job processes started for it, counted before each start: a job that dies at once is not started for ever."""

    created_at: float
    started_at: float | None = None
    finished_at: float | None = None


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """One round."""

    run: str
    number: int
    cohort: list[str]
    metrics: dict[str, float] = {}
    digest: str = ""
    """Of the global weights after the round; empty while it is under way."""

    at: float
    progress: dict[str, Any] = {}
    """`cloud.training.progress.RoundProgress` as plain values."""


class Runs:
    """Runs in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, run: Run) -> None:
        self._connection.execute(runs.insert().values(**columns(run)))

    def change(self, run: str, **values: Any) -> None:
        """Set columns of a run."""
        self._connection.execute(update(runs).where(runs.c.id == run).values(**values))

    def find(self, run: str) -> Run | None:
        """The run, or None."""
        return one(self._connection, select(runs).where(runs.c.id == run), Run)

    def get(self, run: str) -> Run:
        """The run.

        Raises:
            UnknownError: there is none of that name.
        """
        found = self.find(run)
        if found is None:
            raise UnknownError(f"no run {run!r}", hint="`hinterland runs` lists them.")
        return found

    def all(self, *, model: str | None = None) -> list[Run]:
        """Every run, oldest first, or those of one model line."""
        query = select(runs).order_by(runs.c.created_at, runs.c.number)
        return many(self._connection, query if model is None else query.where(runs.c.model == model), Run)

    def open(self) -> list[Run]:
        """Those not yet at a terminal state, oldest first."""
        states = [state.value for state in OPEN]
        return many(self._connection, select(runs).where(runs.c.state.in_(states)).order_by(runs.c.created_at), Run)

    def next_number(self, model: str) -> int:
        """Number of the next run of a model line."""
        highest = self._connection.scalar(select(func.max(runs.c.number)).where(runs.c.model == model))
        return int(highest or 0) + 1

    def put_round(self, row: Round) -> None:
        """Insert or replace a round; a job that resumes may tell the same round again."""
        where = (rounds.c.run == row.run, rounds.c.number == row.number)
        if self._connection.execute(update(rounds).where(*where).values(**columns(row))).rowcount == 0:
            self._connection.execute(rounds.insert().values(**columns(row)))

    def round(self, run: str, number: int) -> Round | None:
        """One round of a run, or None."""
        query = select(rounds).where(rounds.c.run == run, rounds.c.number == number)
        return one(self._connection, query, Round)

    def rounds(self, run: str) -> list[Round]:
        """The rounds of a run in order."""
        return many(self._connection, select(rounds).where(rounds.c.run == run).order_by(rounds.c.number), Round)
