import asyncio
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.drift.window import DriftSettings
from edge.inference.host import ModelHost
from edge.inference.memory_runtime import MemorySession
from edge.pipelines.answer import Answer
from edge.pipelines.hooks import Hooks, Stage
from edge.pipelines.pipeline import Pipeline, PipelineSettings
from edge.pipelines.sinks import LastResult
from edge.pipelines.sources.port import Sample
from edge.pipelines.state import State
from shared.bundle import Schema
from shared.clock import VirtualClock
from shared.errors import FaultError
from shared.messages import DriftReport, Stall, Telemetry
from shared.sketch import Sketch
from shared.topics import Up
from tests.models import SHAPE, place


class Windows:
    """A source of given batches; an exception among them is raised."""

    def __init__(self, *batches: Sequence[Sample] | Exception) -> None:
        self.batches = list(batches)
        self.received = 0
        self.dropped: dict[str, int] = {}
        self.noticed: list[Stall] = []
        self.closed = False
        self.taken = 0

    def stalls(self) -> list[Stall]:
        told, self.noticed = self.noticed, []
        return told

    def fit(self, schema: Schema) -> None:
        self.shape = schema.input_shape

    async def take(self, limit: int) -> list[Sample]:
        self.taken += 1
        if not self.batches:
            return []
        batch = self.batches.pop(0)
        if isinstance(batch, Exception):
            raise batch
        assert len(batch) <= limit
        return list(batch)

    async def close(self) -> None:
        self.closed = True


def sample(index: int, *, value: float = 1.0, phase: str = "", shape: list[int] = SHAPE) -> Sample:
    return Sample(id=f"s:{index}", x=np.full(shape, value, np.float32), at=0.0, ready=-0.005, phase=phase)


def logits(batch: np.ndarray) -> list[np.ndarray]:
    """High for positive windows; NaN for windows of 7; fails on windows of 13."""
    mean = batch.mean(axis=(1, 2))
    if (mean == 13).any():
        raise FaultError("unlucky")
    mean = np.where(mean == 7, np.nan, mean)
    return [np.stack([-mean, mean], axis=1)]


class Rig:
    """A pipeline over in-memory parts."""

    def __init__(
        self, directory: Path, source: Windows, *, model: Any = logits, stages: Sequence[Stage] = (), **settings: Any
    ) -> None:
        self.directory = directory
        self.source = source
        self.clock = VirtualClock()
        self.host = ModelHost(lambda data: MemorySession(model, input_shape=SHAPE))
        self.told: list[tuple[Up, Telemetry | DriftReport]] = []
        self.last = LastResult()
        self.kept: list[str] = []
        self.releases: list[str] = []
        hooks = Hooks(
            stages=stages,
            sinks=[self.last],
            remember=lambda name, x: self.kept.append(name),
            labels_held=lambda: 3,
            on_release=self.releases.append,
        )
        self.pipeline = Pipeline(
            PipelineSettings(name="p", model="toy", **settings),
            source=source,
            host=self.host,
            emit=lambda channel, message: self.told.append((channel, message)),
            clock=self.clock,
            hooks=hooks,
        )

    async def activate(self, counter: int = 1) -> None:
        await self.host.activate("toy", *place(self.directory, b"model", counter=counter))

    def telemetry(self) -> list[Telemetry]:
        return [message for _, message in self.told if isinstance(message, Telemetry)]

    def drift(self) -> list[DriftReport]:
        return [message for _, message in self.told if isinstance(message, DriftReport)]


async def test_it_infers_and_reports_until_the_source_ends(tmp_path: Path) -> None:
    rig = Rig(tmp_path, Windows([sample(0), sample(1, value=-1)], [sample(2)]))
    await rig.activate()
    await rig.pipeline.run()
    assert rig.pipeline.state is State.ENDED
    assert rig.source.closed
    (telemetry,) = rig.telemetry()
    assert (telemetry.pipeline, telemetry.model, telemetry.release) == ("p", "toy", "toy-1")
    assert (telemetry.processed, telemetry.errors, telemetry.labels_held) == (3, 0, 3)
    assert telemetry.counts == {"high": 2, "low": 1}
    assert Sketch.from_bytes(telemetry.latency_ms).quantile(0.5) == pytest.approx(5)
    (drift,) = rig.drift()
    assert (drift.count, drift.release, drift.classes, drift.reference) == (3, "toy-1", {"high": 2, "low": 1}, False)
    assert Sketch.from_bytes(drift.features["ch0.mean"]).count == 3
    assert rig.last.result is not None
    assert rig.last.result.id == "s:2"
    assert rig.kept == ["s:0", "s:1", "s:2"]
    assert rig.releases == ["toy-1"]


async def test_what_stages_say_counts_and_only_of_what_was_answered(tmp_path: Path) -> None:
    seen: list[str] = []

    def first(given: Sample, answer: Answer) -> Answer:
        seen.append(given.id)
        return replace(answer, labels=("crowd",))

    def second(given: Sample, answer: Answer) -> Answer:
        return replace(answer, labels=(*answer.labels, "again"))

    rig = Rig(tmp_path, Windows([sample(0), sample(1, value=7), sample(2)]), stages=[first, second])
    await rig.activate()
    await rig.pipeline.run()
    (telemetry,) = rig.telemetry()
    assert seen == ["s:0", "s:2"]
    assert (telemetry.counts, telemetry.errors) == ({"crowd": 2, "again": 2}, 1)
    assert rig.last.result is not None
    assert rig.last.result.answer.labels == ("crowd", "again")


async def test_without_a_model_it_waits_and_leaves_the_source_alone(tmp_path: Path) -> None:
    rig = Rig(tmp_path, Windows([sample(0)]))
    running = asyncio.create_task(rig.pipeline.run())
    await asyncio.sleep(0.01)
    assert rig.pipeline.state is State.WAITING
    assert rig.source.taken == 0
    await rig.activate()
    await running
    assert rig.telemetry()[0].processed == 1


async def test_samples_in_hand_wait_when_the_model_is_withdrawn(tmp_path: Path) -> None:
    rig = Rig(tmp_path, Windows([sample(0)]))
    await rig.activate()
    take = rig.source.take

    async def take_and_withdraw(limit: int) -> list[Sample]:
        samples = await take(limit)
        await rig.host.withdraw("toy")
        return samples

    rig.source.take = take_and_withdraw  # type: ignore[method-assign]  # the moment that must lose nothing
    turning = asyncio.create_task(rig.pipeline.turn())
    await asyncio.sleep(0.01)
    assert rig.pipeline.state is State.WAITING
    await rig.activate(2)
    assert await turning
    rig.pipeline.flush()
    assert (rig.telemetry()[0].release, rig.telemetry()[0].processed) == ("toy-2", 1)


async def test_bad_inputs_and_answers_are_errors_and_spare_their_neighbours(tmp_path: Path) -> None:
    batch = [sample(0), sample(1, value=7), sample(2, shape=[3, 9]), sample(3, value=-1)]
    rig = Rig(tmp_path, Windows(batch, [sample(4, value=13), sample(5)], [sample(6, shape=[1])]))
    await rig.activate()
    await rig.pipeline.run()
    (telemetry,) = rig.telemetry()
    assert (telemetry.processed, telemetry.errors) == (2, 5)
    health = rig.pipeline.health["toy-1"]
    assert (health.processed, health.errors, health.fault) == (2, 5, "inputs do not fit")
    (drift,) = rig.drift()
    assert (drift.count, Sketch.from_bytes(drift.features["ch0.mean"]).count) == (2, 2)


async def test_a_window_never_spans_two_releases(tmp_path: Path) -> None:
    rig = Rig(tmp_path, Windows([sample(0)], [sample(1)], [sample(2)]))
    await rig.activate(1)
    await rig.pipeline.turn()
    rig.clock.advance(4)
    await rig.activate(2)
    await rig.pipeline.turn()
    rig.clock.advance(2)
    await rig.pipeline.turn()
    rig.pipeline.flush()
    first, second = rig.telemetry()
    assert [(message.release, message.processed) for message in (first, second)] == [("toy-1", 1), ("toy-2", 2)]
    assert first.until == second.since
    assert [(message.release, message.count) for message in rig.drift()] == [("toy-1", 1), ("toy-2", 2)]
    assert rig.releases == ["toy-1", "toy-2"]


async def test_labels_count_for_the_release_and_phase_that_predicted(tmp_path: Path) -> None:
    rig = Rig(tmp_path, Windows([sample(0, phase="calm"), sample(1, phase="calm")], [sample(2, phase="shifted")]))
    await rig.activate(1)
    await rig.pipeline.turn()
    await rig.activate(2)
    await rig.pipeline.turn()
    rig.pipeline.flush()
    rig.told.clear()
    assert [rig.pipeline.label(f"s:{index}", label) for index, label in ((0, 1), (1, 0), (2, 1), (9, 1))] == [
        True,
        True,
        True,
        False,
    ]
    rig.pipeline.flush()
    told = [(message.release, message.phase, message.labelled, message.correct) for message in rig.telemetry()]
    assert told == [("toy-1", "calm", 2, 1), ("toy-2", "shifted", 1, 1)]


async def test_drift_windows_end_by_count_or_time(tmp_path: Path) -> None:
    rig = Rig(tmp_path, Windows(*([sample(i)] for i in range(5))), drift=DriftSettings(inputs=2, seconds=60))
    await rig.activate()
    for _ in range(5):
        await rig.pipeline.turn()
    assert [report.count for report in rig.drift()] == [2, 2]
    rig.clock.advance(30)
    rig.pipeline.tick()
    assert len(rig.drift()) == 2
    rig.clock.advance(30)
    rig.pipeline.tick()
    assert [report.count for report in rig.drift()] == [2, 2, 1]


async def test_inputs_the_source_dropped_are_counted_once(tmp_path: Path) -> None:
    rig = Rig(tmp_path, Windows([sample(0)], [sample(1)]))
    await rig.activate()
    rig.source.received, rig.source.dropped = 6, {"late": 3, "still": 1}
    await rig.pipeline.turn()
    await rig.pipeline.turn()
    rig.pipeline.flush()
    (told,) = rig.telemetry()
    assert (told.received, told.processed, told.dropped) == (6, 2, 4)
    assert told.dropped_by == {"late": 3, "still": 1}


async def test_what_the_source_tells_while_nothing_comes_is_reported(tmp_path: Path) -> None:
    rig = Rig(tmp_path, Windows([sample(0)], [sample(1)]))
    await rig.activate()
    await rig.pipeline.turn()
    rig.pipeline.tick()
    stall = Stall(reason="silent", since=1.0, noticed=6.0)
    rig.source.received, rig.source.dropped, rig.source.noticed = 4, {"still": 3}, [stall]
    rig.pipeline.tick()
    rig.pipeline.tick()
    _, second = rig.telemetry()
    assert (second.release, second.processed, second.received, second.dropped_by) == ("toy-1", 0, 4, {"still": 3})
    assert second.stalls == [stall]


async def test_inputs_in_hand_when_the_pipeline_is_stopped_are_counted(tmp_path: Path) -> None:
    held, entered = threading.Event(), threading.Event()
    held.set()  # for the warm-up

    def slow(batch: np.ndarray) -> list[np.ndarray]:
        entered.set()
        assert held.wait(60)
        return logits(batch)

    rig = Rig(tmp_path, Windows([sample(0), sample(1)]), model=slow)
    await rig.activate()
    held.clear()
    entered.clear()
    running = asyncio.create_task(rig.pipeline.run())
    assert await asyncio.to_thread(entered.wait, 60)
    running.cancel()
    await asyncio.sleep(0)
    held.set()
    await asyncio.wait([running])
    assert sum(message.processed for message in rig.telemetry()) == 2


async def test_a_source_that_fails_is_said_and_what_was_gathered_is_reported(tmp_path: Path) -> None:
    rig = Rig(tmp_path, Windows([sample(0)], FaultError("cable cut")))
    await rig.activate()
    await rig.pipeline.run()
    assert (rig.pipeline.state, rig.pipeline.reason) == (State.FAILED, "cable cut")
    assert rig.telemetry()[0].processed == 1


async def test_an_outbox_that_fails_does_not_stop_inference(tmp_path: Path) -> None:
    rig = Rig(tmp_path, Windows([sample(0)], [sample(1)]), drift=DriftSettings(inputs=1))

    def full(channel: Up, message: Telemetry | DriftReport) -> None:
        raise FaultError("disk full")

    rig.pipeline._emit = full  # the outbox's failure
    await rig.activate()
    await rig.pipeline.run()
    assert rig.pipeline.state is State.ENDED
    assert rig.pipeline.health["toy-1"].processed == 2


async def test_telemetry_comes_as_time_passes(tmp_path: Path) -> None:
    class Slow(Windows):
        async def take(self, limit: int) -> list[Sample]:
            await asyncio.sleep(0.03)
            return await super().take(limit)

    rig = Rig(tmp_path, Slow(*([sample(i)] for i in range(4))), telemetry_s=0.02)
    await rig.activate()
    await rig.pipeline.run()
    assert len(rig.telemetry()) >= 3
    assert sum(message.processed for message in rig.telemetry()) == 4


async def test_cancelling_it_reports_and_closes_the_source(tmp_path: Path) -> None:
    class Endless(Windows):
        async def take(self, limit: int) -> list[Sample]:
            self.taken += 1
            return [sample(self.taken)]

    rig = Rig(tmp_path, Endless())
    await rig.activate()
    running = asyncio.create_task(rig.pipeline.run())
    await asyncio.sleep(0.05)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert rig.source.closed
    assert rig.pipeline.state is State.ENDED
    assert sum(message.processed for message in rig.telemetry()) == rig.pipeline.health["toy-1"].processed > 0
