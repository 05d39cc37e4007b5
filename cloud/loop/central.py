"""Carry out central jobs: write the order, start, start again, take the result."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec
from sqlalchemy import Connection

from cloud.central.data import path_of
from cloud.central.orders import (
    ORDER,
    WEIGHTS,
    EvaluationOrder,
    EvaluationResult,
    Judged,
    WarmOrder,
    WarmResult,
    Where,
    read_result,
    write_order,
)
from cloud.jobs.port import Job, Jobs, Kind, Phase
from cloud.loop.run_orders import spec_of
from cloud.models.line import ModelLine, line_from
from cloud.models.variants import FLOAT
from cloud.store.blobs import FileBlobs
from cloud.store.database import Database
from cloud.store.events import Events
from cloud.store.jobs import CentralJobs, JobRow, JobState
from cloud.store.lines import Lines
from cloud.store.releases import ReleaseRow, Releases
from cloud.store.runs import Run, Runs
from cloud.training.result import WEIGHTS as RUN_WEIGHTS
from cloud.training.result import read_result as read_run_result
from cloud.training.spec import read_spec
from shared.clock import Clock
from shared.errors import ContractError, RefusedError, TrustError
from shared.ids import check_digest


@dataclass(frozen=True, slots=True, kw_only=True)
class CentralKeeper:
    """One turn of every open central job."""

    database: Database
    blobs: FileBlobs
    jobs: Jobs
    clock: Clock
    directory: Path
    """Holds a directory for each job."""

    runs: Path
    """Holds a directory for each run."""

    data: Path
    """Holds the data sets."""

    where: Where
    attempts: int
    """Processes started for one job before it is given up."""

    def turn(self) -> None:
        """Bring every open job one step on; one that cannot be carried out is given up and holds nobody else up."""
        with self.database.read() as connection:
            rows = CentralJobs(connection).open()
        for row in rows:
            try:
                self._step(row)
            except (ContractError, RefusedError, TrustError) as error:
                self._end(row, JobState.FAILED, " ".join(part for part in (str(error), error.hint) if part))

    def job(self, job: str, kind: Kind) -> Job:
        """The job as the port knows it."""
        return Job(kind=kind, directory=self.directory / job)

    def _step(self, row: JobRow) -> None:
        job = self.job(row.id, row.kind)
        if row.state is JobState.CANCELLING:
            self.jobs.cancel(job)
            if self.jobs.state(job).phase is not Phase.RUNNING:
                self._end(row, JobState.CANCELLED, row.reason)
            return
        if not (job.directory / ORDER).exists():
            write_order(job.directory, self._order(row))
        state = self.jobs.state(job)  # asked before reading: a result it wrote before it ended is read below
        result = _result(job)
        if result is not None:
            self._end(row, JobState.DONE, row.reason, result)
        elif state.phase is Phase.RUNNING:
            return
        elif state.phase is Phase.FAILED and state.final:
            self._end(row, JobState.FAILED, state.reason)
        elif row.attempts >= self.attempts:
            self._end(row, JobState.FAILED, f"gave up after {row.attempts} attempts: {state.reason}")
        else:
            self._start(row, job)

    def _start(self, row: JobRow, job: Job) -> None:
        with self.database.write() as connection:
            CentralJobs(connection).change(
                row.id,
                state=JobState.RUNNING.value,
                attempts=row.attempts + 1,
                started_at=row.started_at or self.clock.now(),
            )
            if not row.attempts:
                Events(connection).add("job.started", row.id, f"{row.id} starts", at=self.clock.now())
        self.jobs.submit(job)

    def _end(
        self, row: JobRow, state: JobState, reason: str, result: WarmResult | EvaluationResult | None = None
    ) -> None:
        told = {} if result is None else msgspec.to_builtins(result)
        with self.database.write() as connection:
            at = self.clock.now()
            CentralJobs(connection).change(row.id, state=state.value, reason=reason, result=told, finished_at=at)
            Events(connection).add(f"job.{state}", row.id, f"{row.id} {state}: {_says(result) or reason}", at=at)

    def _order(self, row: JobRow) -> WarmOrder | EvaluationOrder:
        with self.database.read() as connection:
            if row.kind is Kind.WARM_START:
                return self._warm(Runs(connection).get(row.subject), row)
            if row.order["of"] == "run":
                return self._of_run(connection, Runs(connection).get(row.subject), row)
            return self._of_release(connection, Releases(connection).get(row.subject), row)

    def _warm(self, run: Run, row: JobRow) -> WarmOrder:
        spec = spec_of(run)
        data = str(path_of(self.data, row.order["data"]).absolute())
        epochs, seed = int(row.order["epochs"]), int(row.order["seed"])
        return WarmOrder(task=spec.task, data=data, epochs=epochs, seed=seed, recipe=spec.local, where=self.where)

    def _of_run(self, connection: Connection, run: Run, row: JobRow) -> EvaluationOrder:
        place = self.runs / run.id
        result, line = read_run_result(place), _line(connection, run.model)
        if result is None or line is None:
            raise RefusedError(f"{run.id} has no candidate any more", hint="Evaluate its release.")
        files = {name: Judged(path=str((place / name).absolute())) for name in result.files if name != RUN_WEIGHTS}
        return EvaluationOrder(
            data=str(path_of(self.data, row.order["data"]).absolute()),
            input_shape=list(line.schema.input_shape),
            classes=len(line.schema.labels),
            files=files,
            baseline=FLOAT,
            bar=read_spec(place).bar,
            task=result.task,
            weights=str((place / RUN_WEIGHTS).absolute()),
            champion=read_spec(place).champion,
            where=self.where,
        )

    def _of_release(self, connection: Connection, release: ReleaseRow, row: JobRow) -> EvaluationOrder:
        document, line = release.document(), _line(connection, release.model)
        files = {
            variant.name: Judged(
                path=str(self.blobs.path(check_digest(variant.digest)).absolute()), runtime=variant.runtime
            )
            for variant in document.variants
        }
        bar = line.bar if line else None
        first = next((v.name for v in document.variants if v.precision == "fp32"), document.variants[0].name)
        order = EvaluationOrder(
            data=str(path_of(self.data, row.order["data"]).absolute()),
            input_shape=list(document.schema.input_shape),
            classes=len(document.schema.labels),
            files=files,
            baseline=FLOAT if FLOAT in files else first,
            where=self.where,
        )
        return order if bar is None else msgspec.structs.replace(order, bar=bar)


def weights_of(directory: Path) -> Path:
    """The first weights that a job made, in its directory."""
    return directory / WEIGHTS


def _result(job: Job) -> WarmResult | EvaluationResult | None:
    if job.kind is Kind.WARM_START:
        return read_result(job.directory, WarmResult)
    return read_result(job.directory, EvaluationResult)


def _line(connection: Connection, model: str) -> ModelLine | None:
    row = Lines(connection).find(model)
    return None if row is None else line_from(row.document)


def _says(result: WarmResult | EvaluationResult | None) -> str:
    match result:
        case WarmResult():
            return f"first weights {result.digest[:12]} from {result.examples} examples, accuracy {result.accuracy:.3f}"
        case EvaluationResult():
            return result.summary
        case _:
            return ""
