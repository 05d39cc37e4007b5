"""The factory over jobs that a test plays: deadlines, deaths, refusals, and what needs no job."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from cloud.jobs.port import Job, Phase, State
from cloud.models.engines.factory import Factory, Made, Outcome
from cloud.models.engines.order import ENGINE, PROGRESS, REPORT, Order, Progress, Report, read_order
from cloud.models.targets import Target, parse_targets
from shared.bundle import Runtime
from shared.clock import VirtualClock
from shared.errors import FaultError
from shared.ids import sha256

SOURCES = {(gpu, precision): f"{gpu} {precision}".encode() for gpu in (False, True) for precision in ("fp32", "int8")}


class PlayedJobs:
    """The twin of local processes: a job does at its start what the test says, and lives or does not."""

    def __init__(self, play: Callable[[Path, Order, bytes], bool]) -> None:
        self._play = play
        self.alive: set[Path] = set()
        self.most = 0
        self.stopped: list[str] = []

    def submit(self, job: Job) -> None:
        if self._play(job.directory, *read_order(job.directory)):
            self.alive.add(job.directory)
        self.most = max(self.most, len(self.alive))

    def state(self, job: Job) -> State:
        return State(Phase.RUNNING if job.directory in self.alive else Phase.FAILED)

    def log(self, job: Job, *, since: int = 0) -> tuple[bytes, int]:
        return b"", since

    def cancel(self, job: Job) -> None:
        self.alive.discard(job.directory)
        self.stopped.append(job.name)

    def close(self) -> None:
        self.alive.clear()


def built(directory: Path, order: Order, source: bytes) -> bool:
    engine = b"vtrt " + source + str(order.sm).encode()
    (directory / ENGINE).write_bytes(engine)
    report = Report(digest=sha256(engine), size=len(engine), version="1.7", layers=3, seconds=2.0)
    (directory / REPORT).write_bytes(msgspec.json.encode(report))
    return False


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., list[Made]]:
    def lacks(runtime: Runtime) -> str:
        return "" if runtime is Runtime.TENSORRT_RTX else "no library"

    def run(jobs: PlayedJobs, *names: str, told: list[Progress] | None = None, **settings: object) -> list[Made]:
        clock = VirtualClock()
        made = Factory(directory=tmp_path, clock=clock, jobs=jobs, lacks=lacks, sleep=clock.advance, **settings)  # type: ignore[arg-type]

        def tell(_: Target, progress: Progress) -> None:
            if told is not None:
                told.append(progress)

        return made.make(parse_targets(names), SOURCES, tell=tell)

    return run


def test_each_target_gets_its_own_file_in_order(make: Callable[..., list[Made]]) -> None:
    made = make(PlayedJobs(built), "sm86-fp32", "cpu-int8", "openvino-int8", "sm120-int8")
    assert [each.outcome for each in made] == [Outcome.MADE] * 4
    assert made[0].data == b"vtrt True fp3286"
    assert made[1].data == made[2].data == b"False int8"  # the same bytes are stored and sent once
    assert made[3].data == b"vtrt True int8120"
    assert made[3].source == sha256(b"True int8")


def test_what_has_no_builder_or_no_source_is_told_and_stops_nothing(make: Callable[..., list[Made]]) -> None:
    orin, half, good = make(PlayedJobs(built), "sm87-fp32", "sm86-fp16", "sm86-fp32")
    assert (orin.outcome, orin.detail) == (Outcome.MISSING, "no library")
    assert (half.outcome, half.detail) == (Outcome.MISSING, "there is no fp16 source")
    assert good.outcome is Outcome.MADE


def test_a_build_over_its_deadline_is_ended_and_the_next_one_begins(make: Callable[..., list[Made]]) -> None:
    jobs = PlayedJobs(lambda directory, order, source: order.sm == 75 or built(directory, order, source))
    slow, good = make(jobs, "sm75-fp32", "sm86-fp32", deadline_s=30.0)
    assert slow.outcome is Outcome.TIMED_OUT
    assert "30 s" in slow.detail
    assert jobs.stopped == ["sm75-fp32"]
    assert good.outcome is Outcome.MADE


def test_a_builder_that_dies_without_a_word_is_a_failed_build(make: Callable[..., list[Made]]) -> None:
    (dead,) = make(PlayedJobs(lambda *_: False), "sm86-fp32")
    assert dead.outcome is Outcome.FAILED
    assert "job.log" in dead.detail


def test_what_the_library_says_is_the_reason(make: Callable[..., list[Made]]) -> None:
    def refuse(directory: Path, order: Order, source: bytes) -> bool:
        (directory / REPORT).write_bytes(msgspec.json.encode(Report(reason="FP32 GEMM is not supported")))
        return False

    (refused,) = make(PlayedJobs(refuse), "sm75-fp32")
    assert (refused.outcome, refused.detail) == (Outcome.FAILED, "FP32 GEMM is not supported")


def test_an_engine_that_was_altered_after_its_report_is_not_taken(make: Callable[..., list[Made]]) -> None:
    def altered(directory: Path, order: Order, source: bytes) -> bool:
        built(directory, order, source)
        (directory / ENGINE).write_bytes(b"vtrt something else")
        return False

    (refused,) = make(PlayedJobs(altered), "sm86-fp32")
    assert refused.outcome is Outcome.FAILED


def test_no_process_is_a_failed_build(make: Callable[..., list[Made]]) -> None:
    def nothing(directory: Path, order: Order, source: bytes) -> bool:
        raise FaultError("no memory for a process")

    (refused,) = make(PlayedJobs(nothing), "sm86-fp32")
    assert (refused.outcome, refused.detail) == (Outcome.FAILED, "no memory for a process")


@pytest.mark.parametrize("parallel", [1, 2])
def test_as_many_at_once_as_allowed(make: Callable[..., list[Made]], parallel: int) -> None:
    jobs = PlayedJobs(lambda *_: True)
    make(jobs, "sm75-fp32", "sm80-fp32", "sm86-fp32", parallel=parallel, deadline_s=1.0)
    assert jobs.most == parallel


def test_progress_is_told(make: Callable[..., list[Made]]) -> None:
    def slow(directory: Path, order: Order, source: bytes) -> bool:
        (directory / PROGRESS).write_bytes(msgspec.json.encode(Progress(phase="Timing tactics", done=7)))
        return True

    told: list[Progress] = []
    make(PlayedJobs(slow), "sm86-fp32", told=told, deadline_s=1.0)
    assert told[0] == Progress(phase="Timing tactics", done=7)
