"""Several pipelines of one model line, with real threads: all is answered, in order, and counted."""

import asyncio
import threading
from pathlib import Path

import numpy as np

from edge.inference.channel import SLOTS
from edge.inference.host import ModelHost
from edge.inference.memory_runtime import MemorySession
from edge.pipelines.answer import Result
from edge.pipelines.hooks import Hooks
from edge.pipelines.pipeline import Pipeline, PipelineSettings
from edge.pipelines.sources.port import Sample
from edge.pipelines.sources.replay import Recording, ReplaySource
from shared.clock import SystemClock
from shared.messages import Telemetry
from tests.models import SHAPE, place

SENSORS, WINDOWS = 5, 60


class Every:
    """A sink that keeps all results."""

    def __init__(self) -> None:
        self.results: list[Result] = []

    def put(self, sample: Sample, result: Result) -> None:
        self.results.append(result)


class Model:
    """High for positive windows; its first run waits until as many callers as may are there."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.go = threading.Event()
        self.go.set()  # for the warm-up

    def __call__(self, batch: np.ndarray) -> list[np.ndarray]:
        self.sizes.append(len(batch))
        assert self.go.wait(60)
        mean = batch.mean(axis=(1, 2))
        return [np.stack([-mean, mean], axis=1)]


async def test_sensors_that_share_a_model_are_answered_together_each_in_order(tmp_path: Path) -> None:
    model, told, clock = Model(), [], SystemClock()
    host = ModelHost(lambda data: MemorySession(model, input_shape=SHAPE))
    await host.activate("toy", *place(tmp_path, b"model"))
    sinks = [Every() for _ in range(SENSORS)]
    pipelines = []
    for index, sink in enumerate(sinks):
        x = np.full((WINDOWS, *SHAPE), 1.0 if index % 2 else -1.0, np.float32)
        pipelines.append(
            Pipeline(
                PipelineSettings(name=f"s{index}", model="toy", batch=1, priority=1 + index % 2),
                source=ReplaySource(Recording(x, ("",) * WINDOWS), stream=f"s{index}", rate=1e9, clock=clock),
                host=host,
                emit=lambda _, message: told.append(message),
                clock=clock,
                hooks=Hooks(sinks=[sink]),
            )
        )
    model.sizes.clear()
    model.go.clear()
    running = [asyncio.create_task(pipeline.run()) for pipeline in pipelines]
    waiting = host._places["toy"]._shared._turns  # so that some do
    while len(waiting) < SENSORS - SLOTS:
        await asyncio.sleep(0.001)
    model.go.set()
    await asyncio.gather(*running)

    for index, sink in enumerate(sinks):
        assert [result.id for result in sink.results] == [f"s{index}:{number}" for number in range(WINDOWS)]
        assert {result.answer.labels for result in sink.results} == {("high",) if index % 2 else ("low",)}
    assert sum(model.sizes) == SENSORS * WINDOWS
    assert max(model.sizes) > 1  # what waited went through it together
    telemetry = [message for message in told if isinstance(message, Telemetry)]
    assert (
        sum(message.processed for message in telemetry)
        == SENSORS * WINDOWS
        == sum(message.received for message in telemetry)
    )
    assert sum(message.errors + message.dropped for message in telemetry) == 0
