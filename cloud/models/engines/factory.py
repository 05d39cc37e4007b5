"""From a float model to the files of all targets: sources made here, engines by jobs, each with a deadline.

What cannot be made is part of the answer and never an exception: a release may do without a file for one GPU, and
somebody has to be told why it does.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from cloud.jobs.local import LocalJobs
from cloud.jobs.port import LOG, Job, Jobs, Kind, Phase
from cloud.models.engines.order import (
    ENGINE,
    SOURCE,
    Batch,
    Order,
    Progress,
    read_progress,
    read_report,
    write_order,
)
from cloud.models.engines.tensorrt import missing
from cloud.models.targets import Target
from shared import TELEMETRY_OFF
from shared.bundle import Runtime
from shared.clock import Clock
from shared.errors import FaultError
from shared.ids import sha256

DEADLINE_S = 900.0
"""For one engine: the detector takes seconds with TensorRT-RTX; trying kernels out on a Jetson takes minutes."""

POLL_S = 0.1


class Outcome(StrEnum):
    """How the making of a file ended."""

    MADE = "made"
    MISSING = "missing"
    """There is no builder here, or no source of that precision."""

    FAILED = "failed"
    TIMED_OUT = "timed-out"


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """One target's file, or why there is none."""

    target: Target
    outcome: Outcome
    data: bytes = b""
    detail: str = ""
    """Why there is none; for an engine, who built it."""

    seconds: float = 0.0
    source: str = ""
    """SHA-256 of the ONNX file that it was made from."""

    version: str = ""
    """Of the library that built it."""


def builder_jobs() -> LocalJobs:
    """Builders as children of this process, one thread each; they reach no agent's or coordinator's secrets."""
    kept = ("PATH", "LANG", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "PYTHONPATH")
    env = {name: os.environ[name] for name in kept if name in os.environ} | dict(TELEMETRY_OFF)
    return LocalJobs({Kind.ENGINE: (sys.executable, "-P", "-m", "cloud.models.engines.job")}, env=env)


@dataclass(slots=True, kw_only=True)
class Factory:
    """Makes files for targets, a few builds at a time."""

    directory: Path
    """Each build has a directory with its order, progress, log and report in it."""

    clock: Clock
    jobs: Jobs = field(default_factory=builder_jobs)
    deadline_s: float = DEADLINE_S
    parallel: int = 1
    batch: Batch = field(default_factory=Batch)
    lacks: Callable[[Runtime], str] = missing
    """Why this machine builds nothing for a runtime; empty if it does."""

    sleep: Callable[[float], None] = time.sleep
    """Between two looks at the jobs; tests let a clock of theirs pass."""

    def make(
        self,
        targets: Sequence[Target],
        sources: Mapping[tuple[bool, str], bytes],
        *,
        tell: Callable[[Target, Progress], None] | None = None,
    ) -> list[Made]:
        """Make the files of `targets`, in their order.

        Args:
            targets: what is wanted, each once.
            sources: (for a GPU, precision) → ONNX file; see `cloud.models.engines.sources`.
            tell: is told how far each build is.
        """
        waiting = list(targets)
        running: dict[Target, float] = {}
        made: dict[Target, Made] = {}
        try:
            while waiting or running:
                while waiting and len(running) < self.parallel:
                    target = waiting.pop(0)
                    done = self._start(target, sources)
                    if done is None:
                        running[target] = self.clock.monotonic() + self.deadline_s
                    else:
                        made[target] = done
                self._turn(running, made, tell)
                if running:
                    self.sleep(POLL_S)
        finally:
            self.jobs.close()
        return [made[target] for target in targets]

    def _start(self, target: Target, sources: Mapping[tuple[bool, str], bytes]) -> Made | None:
        """Begin with a target; what needs no builder is made at once."""
        source = sources.get((target.engine, target.precision))
        if source is None:
            return Made(target=target, outcome=Outcome.MISSING, detail=f"there is no {target.precision} source")
        if not target.engine:
            return Made(target=target, outcome=Outcome.MADE, data=source, source=sha256(source))
        if reason := self.lacks(target.runtime):
            return Made(target=target, outcome=Outcome.MISSING, detail=reason)
        place = self._place(target)
        write_order(place, Order(runtime=target.runtime, sm=target.sm, batch=self.batch), source)
        try:
            self.jobs.submit(_job(place))
        except FaultError as error:
            return Made(target=target, outcome=Outcome.FAILED, detail=str(error))
        return None

    def _turn(
        self, running: dict[Target, float], made: dict[Target, Made], tell: Callable[[Target, Progress], None] | None
    ) -> None:
        """Look at every build once."""
        for target, deadline in list(running.items()):
            place = self._place(target)
            alive = (
                self.jobs.state(_job(place)).phase is Phase.RUNNING
            )  # asked before reading: what a job wrote before it ended is read below
            if tell is not None and (progress := read_progress(place)) is not None:
                tell(target, progress)
            done = self._ended(target, alive=alive)
            if done is None and self.clock.monotonic() >= deadline:
                self.jobs.cancel(_job(place))
                detail = f"not built within {self.deadline_s:g} s; see {place / LOG}"
                done = Made(target=target, outcome=Outcome.TIMED_OUT, detail=detail)
            if done is not None:
                made[target] = done
                del running[target]

    def _ended(self, target: Target, *, alive: bool) -> Made | None:
        place = self._place(target)
        report = read_report(place)
        if report is None:
            if alive:
                return None
            return Made(target=target, outcome=Outcome.FAILED, detail=f"the builder's process ended; see {place / LOG}")
        if report.reason:
            return Made(target=target, outcome=Outcome.FAILED, detail=report.reason, seconds=report.seconds)
        data = (place / ENGINE).read_bytes()
        if sha256(data) != report.digest:
            detail = f"{place / ENGINE} is not what was built"
            return Made(target=target, outcome=Outcome.FAILED, detail=detail)
        return Made(
            target=target,
            outcome=Outcome.MADE,
            data=data,
            detail=f"{target.runtime} {report.version}, {report.layers} layers",
            seconds=report.seconds,
            source=sha256((place / SOURCE).read_bytes()),
            version=report.version,
        )

    def _place(self, target: Target) -> Path:
        return self.directory / target.name


def _job(place: Path) -> Job:
    return Job(kind=Kind.ENGINE, directory=place)
