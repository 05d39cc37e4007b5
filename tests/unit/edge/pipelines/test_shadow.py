"""A challenger beside a pipeline: it sees what the champion saw, and the champion does not notice."""

import asyncio
import threading
import time
from pathlib import Path
from random import Random

import numpy as np
import pytest

from edge.inference.challenger import MAX_FAILURES
from edge.inference.host import ModelHost
from edge.inference.isolated import ALARM, IsolatedSession
from edge.inference.memory_runtime import MemorySession
from edge.inference.process import Isolation
from edge.inference.runtime import Session
from edge.pipelines.answer import Result
from edge.pipelines.hooks import Hooks
from edge.pipelines.pipeline import Pipeline, PipelineSettings
from edge.pipelines.sources.port import Sample
from shared.bundle import Challenge
from shared.clock import SystemClock
from shared.errors import FaultError
from shared.messages import ShadowReport, Stall, Telemetry
from tests.hostile_model import isolation
from tests.models import SHAPE, classifier, place

ALWAYS = Challenge(release="toy-2", share=1.0)


class Windows:
    """A source of given batches."""

    def __init__(self, batches: list[list[Sample]]) -> None:
        self.batches = batches
        self.received = 0
        self.dropped: dict[str, int] = {}

    def fit(self, schema: object) -> None: ...

    def stalls(self) -> list[Stall]:
        return []

    async def take(self, limit: int) -> list[Sample]:
        await asyncio.sleep(0)
        return self.batches.pop(0) if self.batches else []

    async def close(self) -> None: ...


class Kept:
    """A sink that keeps all results."""

    def __init__(self) -> None:
        self.results: list[Result] = []

    def put(self, sample: Sample, result: Result) -> None:
        self.results.append(result)


class Rig:
    """A pipeline whose models are functions, named by their bytes."""

    def __init__(self, directory: Path, batches: list[list[Sample]], host: ModelHost | None = None) -> None:
        self.directory = directory
        self.gate = threading.Event()
        self.host = host or ModelHost(self.load)
        self.told: list[object] = []
        self.kept = Kept()
        self.pipeline = Pipeline(
            PipelineSettings(name="p", model="toy"),
            source=Windows(batches),
            host=self.host,
            emit=lambda channel, message: self.told.append(message),
            clock=SystemClock(),
            hooks=Hooks(sinks=[self.kept], temperature=lambda: 55.0),
        )

    def load(self, data: bytes) -> Session:
        name, runs = data.decode(), 0

        def model(batch: np.ndarray) -> list[np.ndarray]:
            nonlocal runs
            runs += 1
            mean = batch.mean(axis=(1, 2))
            if name == "waits" and runs > 2:  # not in the warm-up
                self.gate.wait(5)
            if name == "fails" and runs > 2:
                raise FaultError("unlucky")
            if name == "nan" and runs > 2:
                mean = mean * np.nan
            sign = -1 if name == "opposite" else 1
            return [np.stack([-mean, mean], axis=1) * sign]

        return MemorySession(model, input_shape=SHAPE)

    async def start(self, challenger: str, terms: Challenge = ALWAYS) -> None:
        await self.host.activate("toy", *place(self.directory, b"right", counter=1))
        await self.host.challenge("toy", *place(self.directory, challenger.encode(), counter=2), terms)

    async def settle(self) -> None:
        """Until the challenger has nothing in hand."""
        while self.pipeline._shadow._asked:
            await asyncio.sleep(0.005)

    def reports(self) -> list[ShadowReport]:
        return [message for message in self.told if isinstance(message, ShadowReport)]

    def telemetry(self) -> dict[str, Telemetry]:
        return {message.release: message for message in self.told if isinstance(message, Telemetry)}


def sample(index: int, value: float = 1.0) -> Sample:
    return Sample(id=f"s:{index}", x=np.full(SHAPE, value, np.float32), at=0.0, ready=0.0)


def singles(count: int) -> list[list[Sample]]:
    return [[sample(index, 1.0 if index % 2 else -1.0)] for index in range(count)]


async def test_both_see_the_same_inputs_and_only_the_champion_is_heard(tmp_path: Path) -> None:
    rig = Rig(tmp_path, [[sample(0), sample(1, -1)], [sample(2)]])
    await rig.start("opposite")
    for _ in range(2):
        await rig.pipeline.turn()
        await rig.settle()
    assert all(rig.pipeline.label(f"s:{index}", label) for index, label in ((0, 1), (1, 1), (2, 1)))
    rig.pipeline.flush()
    assert {result.release for result in rig.kept.results} == {"toy-1"}
    assert set(rig.telemetry()) == {"toy-1"}
    (report,) = rig.reports()
    assert (report.release, report.champion, report.inputs, report.agreed, report.skipped) == (
        "toy-2",
        "toy-1",
        3,
        0,
        0,
    )
    assert (report.both_right, report.only_champion, report.only_challenger, report.both_wrong) == (0, 2, 1, 0)
    assert report.confidence == {0: 3}
    assert (report.champion_classes, report.classes) == ({"high": 2, "low": 1}, {"high": 1, "low": 2})
    assert (report.temperature_c, report.memory_mib) == (55.0, None)
    await rig.pipeline.close()


async def test_a_slow_challenger_is_spared_inputs_and_the_champion_answers_all(tmp_path: Path) -> None:
    rig = Rig(tmp_path, singles(20))
    await rig.start("waits")
    async with asyncio.timeout(3):  # the champion does not wait for the gate
        for _ in range(20):
            assert await rig.pipeline.turn()
    assert len(rig.kept.results) == 20
    rig.gate.set()
    await rig.settle()
    rig.pipeline.flush()
    (report,) = rig.reports()
    assert report.inputs + report.skipped == 20
    assert 1 <= report.inputs <= 3
    await rig.pipeline.close()


async def test_without_a_share_of_time_a_challenger_sees_nothing(tmp_path: Path) -> None:
    rig = Rig(tmp_path, singles(5))
    await rig.start("right", Challenge(release="toy-2", share=0.0))
    await rig.pipeline.run()
    (report,) = rig.reports()
    assert (report.inputs, report.skipped, report.latency_ms) == (0, 5, b"")


@pytest.mark.parametrize(("what", "reason"), [("fails", "unlucky"), ("nan", "not finite")])
async def test_a_challenger_that_fails_again_and_again_is_ailing(tmp_path: Path, what: str, reason: str) -> None:
    rig = Rig(tmp_path, singles(MAX_FAILURES + 5))
    await rig.start(what)
    for _ in range(MAX_FAILURES):
        assert rig.host.challenger_ailing("toy") == ""
        await rig.pipeline.turn()
        await rig.settle()
    assert f"{MAX_FAILURES} batches in a row" in rig.host.challenger_ailing("toy")
    assert reason in rig.host.challenger_ailing("toy")
    assert rig.host.ailing("toy") == ""
    await rig.host.unchallenge("toy")
    await rig.pipeline.run()
    assert len(rig.kept.results) == MAX_FAILURES + 5
    assert sum(report.errors for report in rig.reports()) == MAX_FAILURES


async def test_inputs_that_neither_can_answer_are_nobodys_fault(tmp_path: Path) -> None:
    odd = Sample(id="s:0", x=np.zeros((1, 1), np.float32), at=0.0, ready=0.0)
    rig = Rig(tmp_path, [[odd] for _ in range(MAX_FAILURES + 1)])
    await rig.start("right")
    await rig.pipeline.run()
    assert rig.host.challenger_ailing("toy") == ""
    assert rig.reports()[0].errors == 0


async def test_a_window_ends_with_its_champion_and_with_its_challenger(tmp_path: Path) -> None:
    rig = Rig(tmp_path, singles(6))
    await rig.start("right")
    for counter in (None, 3, None):
        if counter:
            await rig.host.activate("toy", *place(tmp_path, b"right", counter=counter))
        for _ in range(2):
            await rig.pipeline.turn()
            await rig.settle()
        if counter:
            await rig.host.challenge("toy", *place(tmp_path, b"right", counter=4), Challenge(release="toy-4", share=1))
    rig.pipeline.flush()
    seen = sorted((report.champion, report.release, report.inputs) for report in rig.reports())
    assert seen == [("toy-1", "toy-2", 2), ("toy-3", "toy-2", 2), ("toy-3", "toy-4", 2)]
    await rig.pipeline.close()


async def test_a_split_lets_the_challenger_answer_its_share(tmp_path: Path) -> None:
    rig = Rig(tmp_path, [[sample(index) for index in range(start, start + 8)] for start in range(0, 64, 8)])
    await rig.start("opposite", Challenge(release="toy-2", share=1.0, split=0.5))
    await rig.pipeline.run()
    assert [result.id for result in rig.kept.results] == [f"s:{index}" for index in range(64)]
    said = {"toy-1": ("high",), "toy-2": ("low",)}
    assert all(result.answer.labels == said[result.release] for result in rig.kept.results)
    its = sum(result.release == "toy-2" for result in rig.kept.results)
    assert 20 <= its <= 44
    assert (rig.telemetry()["toy-2"].processed, rig.telemetry()["toy-1"].processed) == (its, 64 - its)
    assert sum(report.inputs + report.skipped for report in rig.reports()) == 64


async def test_where_the_challenger_fails_in_its_split_the_champions_answer_counts(tmp_path: Path) -> None:
    rig = Rig(tmp_path, singles(8))
    await rig.start("fails", Challenge(release="toy-2", share=1.0, split=1.0))
    await rig.pipeline.run()
    assert [result.release for result in rig.kept.results] == ["toy-1"] * 8
    assert sum(report.errors for report in rig.reports()) == 8
    assert rig.telemetry()["toy-1"].errors == 0


async def test_a_challenger_that_leaves_meanwhile_is_closed_after_its_last_answer(tmp_path: Path) -> None:
    rig = Rig(tmp_path, singles(2))
    await rig.start("waits")
    session = rig.host.challenger_of("toy").served.session  # type: ignore[union-attr]  # it is there
    await rig.pipeline.turn()
    await asyncio.sleep(0.01)
    await rig.host.unchallenge("toy")
    assert not session.closed  # type: ignore[attr-defined]  # a memory session
    rig.gate.set()
    await rig.settle()
    assert session.closed  # type: ignore[attr-defined]  # as above
    await rig.pipeline.run()


@pytest.mark.parametrize(
    ("what", "reason"),
    [("crash", "SIGSEGV"), ("hang", "no answer within 0.2 s"), (f"allocate:{10 << 30}", "needs more than 256 MiB")],
)
async def test_a_real_challenger_that_ends_its_process_is_given_up_and_the_champion_answers_on(
    tmp_path: Path, what: str, reason: str
) -> None:
    random, clock = Random(1), SystemClock()
    host = ModelHost(
        IsolatedSession.loader(Isolation(), clock=clock, random=random),
        challenge=IsolatedSession.loader(isolation(answer_s=0.2), clock=clock, random=random),
    )
    rig = Rig(tmp_path, [[sample(index)] for index in range(100_000)], host)
    await host.activate("toy", *place(tmp_path, classifier(), counter=1))
    await host.challenge("toy", *place(tmp_path, f"after 3:{what}".encode(), counter=2), ALWAYS)
    turns, deadline = 0, time.monotonic() + 30
    while not host.challenger_ailing("toy"):
        assert time.monotonic() < deadline
        assert await rig.pipeline.turn()
        turns += 1
        await asyncio.sleep(0.01)
    await host.unchallenge("toy")
    await rig.settle()
    rig.pipeline.flush()
    assert len(rig.kept.results) == turns
    assert host.ailing("toy") == ""
    assert sum(report.errors for report in rig.reports()) >= ALARM
    await rig.pipeline.close()
    await host.close()


async def test_a_real_challenger_says_how_large_it_is_and_stands_back(tmp_path: Path) -> None:
    import os

    random, clock = Random(1), SystemClock()
    nice = Isolation(nice=10)
    host = ModelHost(
        IsolatedSession.loader(Isolation(), clock=clock, random=random),
        challenge=IsolatedSession.loader(nice, clock=clock, random=random),
    )
    rig = Rig(tmp_path, singles(4), host)
    await host.activate("toy", *place(tmp_path, classifier(), counter=1))
    await host.challenge("toy", *place(tmp_path, classifier(-1.0), counter=2), ALWAYS)
    champion, challenger = host.serving("toy"), host.challenger_of("toy")
    assert champion is not None
    assert challenger is not None
    pids = [served.session.pid for served in (champion, challenger.served)]  # type: ignore[attr-defined]  # isolated
    assert [os.getpriority(os.PRIO_PROCESS, pid) for pid in pids] == [0, 10]
    for _ in range(4):
        await rig.pipeline.turn()
        await rig.settle()
    rig.pipeline.flush()
    (report,) = rig.reports()
    assert (report.inputs, report.agreed) == (4, 0)
    assert report.memory_mib is not None
    assert 20 < report.memory_mib < 600
    await rig.pipeline.close()
    await host.close()
