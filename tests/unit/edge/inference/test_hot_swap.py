"""Swapping real sessions under load: no input is lost, and each answer is of one release."""

import asyncio
from pathlib import Path

import numpy as np

from edge.drift.window import DriftSettings
from edge.inference.host import ModelHost
from edge.inference.onnx_runtime import OnnxSession
from edge.inference.runtime import Session
from edge.pipelines.answer import Result
from edge.pipelines.hooks import Hooks
from edge.pipelines.pipeline import Pipeline, PipelineSettings
from edge.pipelines.sources.port import Sample
from edge.pipelines.sources.replay import Recording, ReplaySource
from shared.clock import SystemClock
from shared.errors import HinterlandError
from shared.messages import DriftReport, Telemetry
from shared.topics import Up
from tests.models import SHAPE, classifier, place

SWAPS = 200
POISONED = 7  # every seventh model answers NaN and must not get in


class Every:
    """A sink that keeps all results."""

    def __init__(self) -> None:
        self.results: list[Result] = []

    def put(self, sample: Sample, result: Result) -> None:
        self.results.append(result)


class Counted:
    """Real sessions, and how many of them are open."""

    def __init__(self) -> None:
        self.sessions: list[Session] = []

    def load(self, data: bytes) -> Session:
        session = OnnxSession.from_bytes(data)
        self.sessions.append(session)
        return session

    def open(self) -> int:
        return sum(session._session is not None for session in self.sessions)  # type: ignore[attr-defined]  # the proof


def _odd_means_high(release: str) -> str:
    """Odd releases call a positive window low, even ones high: an answer shows which model gave it."""
    return "low" if int(release.split("-")[1]) % 2 else "high"


async def test_two_hundred_swaps_under_load_drop_no_input(tmp_path: Path) -> None:
    runtime, every, told = Counted(), Every(), []
    host, clock = ModelHost(runtime.load), SystemClock()
    recording = Recording(np.ones((64, *SHAPE), np.float32), ("",) * 64)
    source = ReplaySource(recording, stream="s", rate=4000, clock=clock, loop=True)
    pipeline = Pipeline(
        PipelineSettings(name="p", model="toy", telemetry_s=0.05, drift=DriftSettings(rate=1e9)),
        source=source,
        host=host,
        emit=lambda channel, message: told.append((channel, message)),
        clock=clock,
        hooks=Hooks(sinks=[every]),
    )
    running = asyncio.create_task(pipeline.run())
    refused = 0
    for counter in range(1, SWAPS + 1):
        bad = counter % POISONED == 0
        data = classifier(4.0 if counter % 2 else -4.0, poison=float("nan") if bad else 1.0)
        try:
            await host.activate("toy", *place(tmp_path, data, counter=counter))
        except HinterlandError:
            refused += 1
    await asyncio.sleep(0.05)
    await source.close()
    await running

    assert refused == SWAPS // POISONED
    assert [result.id for result in every.results] == [f"s:{i}" for i in range(len(every.results))]  # none lost
    assert all(result.answer.labels == (_odd_means_high(result.release),) for result in every.results)
    counters = [int(result.release.split("-")[1]) for result in every.results]
    assert counters == sorted(counters)
    assert not any(counter % POISONED == 0 for counter in counters)
    assert len(set(counters)) > SWAPS // 4  # the load really met many releases
    assert runtime.open() == 1  # old sessions are closed
    _check_reports(told, processed=len(every.results))


def _check_reports(told: list[tuple[Up, Telemetry | DriftReport]], *, processed: int) -> None:
    telemetry = [message for channel, message in told if channel is Up.TELEMETRY]
    assert sum(message.processed for message in telemetry) == processed
    assert sum(message.errors + message.dropped for message in telemetry) == 0
    for message in telemetry:
        assert set(message.counts) == {_odd_means_high(message.release)}
    drift = [message for channel, message in told if channel is Up.DRIFT]
    assert sum(message.count for message in drift) == processed
    for message in drift:
        assert set(message.classes) == {_odd_means_high(message.release)}
