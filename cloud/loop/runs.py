"""Carry out federated runs: start, follow, start again, conclude."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec
from sqlalchemy import Connection

from cloud.jobs.port import Job, Jobs, Kind, Phase
from cloud.loop.central import weights_of
from cloud.loop.central_orders import central_job, order_judgement, order_warm_start, warm_job
from cloud.loop.central_verdict import check_weights, with_central
from cloud.loop.follow import failed, note, take_events
from cloud.loop.orders import order_release
from cloud.loop.privacy import settle_spending
from cloud.loop.run_orders import spec_of
from cloud.models.line import ModelLine, line_from
from cloud.models.variants import FLOAT, cpu_variant
from cloud.store.blobs import FileBlobs
from cloud.store.database import Database
from cloud.store.events import Events
from cloud.store.jobs import OPEN as OPEN_JOBS
from cloud.store.jobs import CentralJobs, JobRow, JobState
from cloud.store.lines import Lines
from cloud.store.releases import Releases
from cloud.store.reports import statuses
from cloud.store.runs import Run, Runs, RunState
from cloud.training.headway import headway
from cloud.training.ledger import RunLedger
from cloud.training.result import WEIGHTS, RunResult, read_result
from cloud.training.spec import FILE, RunSpec, write_spec
from shared.bundle import Release, Variant
from shared.clock import Clock
from shared.errors import ContractError
from shared.ids import check_digest, release_id, sha256

ACTOR = "coordinator"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunKeeper:
    """One turn of every open run."""

    database: Database
    blobs: FileBlobs
    jobs: Jobs
    clock: Clock
    directory: Path
    """Holds a directory for each run."""

    central: Path
    """Holds a directory for each central job."""

    attempts: int
    """Job processes started for one run, without any headway, before it is given up."""

    def turn(self) -> None:
        """Bring every open run one step on; one whose files are broken is given up and holds nobody else up.

        Raises:
            FaultError: the disk or the database failed; the next turn tries again.
        """
        with self.database.read() as connection:
            open_runs = Runs(connection).open()
        for run in open_runs:
            try:
                self._step(run)
            except ContractError as error:
                self.jobs.cancel(self._job(run))
                with self.database.write() as connection:
                    settle_spending(connection, run, RunLedger(self.directory / run.id), at=self.clock.now())
                self._give_up(run, str(error))

    def _step(self, run: Run) -> None:
        match run.state:
            case RunState.QUEUED if run.spec.get("warm_start"):
                self._warm_up(run)
            case RunState.QUEUED:
                self._begin(run)
            case RunState.WARMING:
                self._await_warmth(run)
            case RunState.RUNNING:
                self._follow(run)
            case RunState.JUDGED:
                self._conclude(run)

    def _warm_up(self, run: Run) -> None:
        """Order first weights; the keeper of central jobs has them made."""
        with self.database.write() as connection:
            at = self.clock.now()
            order_warm_start(connection, run, at=at)
            Runs(connection).change(run.id, state=RunState.WARMING.value)
            note(connection, run, RunState.WARMING, at=at, reason=run.reason or run.cause)

    def _await_warmth(self, run: Run) -> None:
        with self.database.read() as connection:
            job = CentralJobs(connection).get(warm_job(run.id))
        if job.state is JobState.DONE:
            self._begin(run, weights=weights_of(self.central / job.id), digest=str(job.result["digest"]))
        elif job.state not in OPEN_JOBS:
            self._give_up(run, f"there are no first weights: {job.id} {job.state}: {job.reason}")

    def _begin(self, run: Run, *, weights: Path | None = None, digest: str = "") -> None:
        """Write down what the job will do; the next turn starts it."""
        place = self.directory / run.id
        if not (place / FILE).exists():
            spec = self._grounded(run)
            if weights is not None:
                check_weights(weights, digest)
                spec = msgspec.structs.replace(spec, start=str(weights.absolute()))
            write_spec(place, spec)
        with self.database.write() as connection:
            at = self.clock.now()
            Runs(connection).change(run.id, state=RunState.RUNNING.value, started_at=at)
            Events(connection).add("run.started", run.id, f"{run.id} starts", at=at)
            note(connection, run, RunState.RUNNING, at=at, reason=run.reason or run.cause)

    def _grounded(self, run: Run) -> RunSpec:
        """The specification with the paths that it names on this machine."""
        spec = spec_of(run)
        start = str((self.directory / spec.start / WEIGHTS).absolute()) if spec.start else ""
        return msgspec.structs.replace(spec, start=start, champion=self._champion(run.model))

    def _champion(self, model: str) -> str:
        """Path of the float file that most devices serve now; empty when there is none."""
        with self.database.read() as connection:
            serving = [status.serving for status in statuses(connection) if status.model == model and status.serving]
            row = Releases(connection).find(max(serving, key=serving.count)) if serving else None
        for variant in row.document().variants if row else []:
            if variant.name == FLOAT:
                return str(self.blobs.path(check_digest(variant.digest)).absolute())
        return ""

    def _follow(self, run: Run) -> None:
        """Read on in the ledger; without a living job and without an end, start the job (again)."""
        place = self.directory / run.id
        # asked before reading: what a job wrote before it ended is read below
        alive = self.jobs.state(self._job(run)).phase is Phase.RUNNING
        events, offset = RunLedger(place).read_since(run.followed)
        if events:
            known, _ = RunLedger(place).read_since(0, until=run.followed)
            got_on = headway([*known, *events]) > headway(known)
            with self.database.write() as connection:
                take_events(connection, run, events, offset=offset)
                if got_on:
                    Runs(connection).change(run.id, attempts=0)
                run = Runs(connection).get(run.id)
        if alive or run.state is not RunState.RUNNING:
            return
        if run.attempts >= self.attempts:
            self._give_up(run, f"gave up after {run.attempts} attempts without headway; see {place / 'job.log'}")
            return
        with self.database.write() as connection:
            Runs(connection).change(run.id, attempts=run.attempts + 1)
        self.jobs.submit(self._job(run))

    def _conclude(self, run: Run) -> None:
        """Turn the verdict into a release, or say why there is none."""
        result = read_result(self.directory / run.id)
        if result is None:
            self._give_up(run, "the ledger says finished, but there is no result")
            return
        line = self._line(run)
        central = self._central(run, line)
        if central is not None and central.state in OPEN_JOBS:
            return  # the line says that nothing is released without it
        admitted, said = with_central(result, central, line.central.decides if line.central else "nothing")
        variants = [self._keep(run, result, name) for name in admitted]
        with self.database.write() as connection:
            at = self.clock.now()
            if variants:
                release = self._release(connection, run, line, result, variants, at=at)
                order_release(connection, release, at=at, by=ACTOR, reason=said)
            Events(connection).add("run.judged", run.id, f"{run.id}: {said}", at=at)
            Runs(connection).change(
                run.id,
                state=(RunState.RELEASED if variants else RunState.REJECTED).value,
                release=release.id if variants else "",
                result=_summary(result),
            )
            note(
                connection,
                run,
                RunState.RELEASED if variants else RunState.REJECTED,
                at=at,
                reason=said,
                release=release.id if variants else "",
            )

    def _line(self, run: Run) -> ModelLine:
        with self.database.read() as connection:
            return line_from(Lines(connection).get(run.model).document)

    def _central(self, run: Run, line: ModelLine) -> JobRow | None:
        """The company's own judgement, ordered where the line names a hold-out; None where nothing waits for it."""
        if line.central is None:
            return None
        with self.database.read() as connection:
            job = CentralJobs(connection).find(central_job(run.id))
        if job is None:
            with self.database.write() as connection:
                job = order_judgement(connection, run, data=line.central.data, at=self.clock.now())
        return None if line.central.decides == "nothing" else job

    def _keep(self, run: Run, result: RunResult, name: str) -> Variant:
        data = (self.directory / run.id / name).read_bytes()
        if sha256(data) != result.files[name].digest:
            raise ContractError(f"{name} of {run.id} is not the file that was judged", hint="Start the run again.")
        self.blobs.put(data)
        return cpu_variant(name, data, precision="fp32" if name == FLOAT else "int8")

    def _release(
        self,
        connection: Connection,
        run: Run,
        line: ModelLine,
        result: RunResult,
        variants: list[Variant],
        *,
        at: float,
    ) -> Release:
        counter = Releases(connection).next_counter(run.model)
        return Release(
            id=release_id(run.model, counter),
            model=run.model,
            counter=counter,
            schema=line.schema,
            variants=variants,
            created=at,
            run=run.id,
            evaluation=result.evaluation,
        )

    def _job(self, run: Run) -> Job:
        return Job(kind=Kind.RUN, directory=self.directory / run.id)

    def _give_up(self, run: Run, why: str) -> None:
        lost = failed(run, why)
        with self.database.write() as connection:
            at = self.clock.now()
            Runs(connection).change(run.id, state=lost.state.value, reason=lost.reason, finished_at=at)
            Events(connection).add("run.failed", run.id, f"{run.id}: {why}", at=at)
            note(connection, run, RunState.FAILED, at=at, reason=why)


def _summary(result: RunResult) -> dict[str, object]:
    """What people ask of a result; the whole of it stays in the run's directory."""
    built = msgspec.to_builtins(result)
    kept = ("digest", "devices", "holdouts", "admitted", "refused", "evaluation", "summary", "seconds")
    return {name: built[name] for name in kept}
