"""What the device's sensors say reaches its pipelines, and the coordinator."""

from pathlib import Path
from typing import Any

import numpy as np

from edge.facts import MemoryFacts
from edge.inference.host import ModelHost
from edge.inference.memory_runtime import MemorySession
from edge.operate.sparing import Sparing
from edge.operate.throttle import Limits, Throttle
from edge.pipelines.hooks import Hooks
from edge.pipelines.pipeline import Pipeline, PipelineSettings
from edge.pipelines.sources.chain import Chain
from edge.pipelines.sources.video import VideoSettings, video_source
from edge.pipelines.tasks.detect import Detector
from edge.pipelines.tempo import Tempo, Thinning
from shared.bundle import Schema
from shared.clock import VirtualClock
from shared.messages import Pace, Telemetry
from tests.films import make_film
from tests.models import detector, place

SCHEMA = Schema(kind="detection", labels=["car", "person"], input_shape=[3, 32, 32])
FRAMES = 40


class Camera:
    """A film through a pipeline on a virtual clock; a model that takes so long, in virtual milliseconds."""

    def __init__(self, directory: Path, *, work_ms: float = 0.0, target_ms: float = 100.0) -> None:
        self.clock = VirtualClock()
        self.told: list[Any] = []
        self.thinning = Thinning(Tempo(target_ms=target_ms))
        real = MemorySession(self._answer, input_shape=SCHEMA.input_shape)
        self.work_ms = 0.0
        self.host = ModelHost(lambda _: real)
        film = make_film(directory / "film.avi", frames=FRAMES)
        self.pipeline = Pipeline(
            PipelineSettings(name="gate", model="detector"),
            source=video_source(
                VideoSettings(path=film, queue=1),
                stream="gate",
                clock=self.clock,
                chain=Chain(gates=[self.thinning]),
            ),
            host=self.host,
            emit=lambda _, message: self.told.append(message),
            clock=self.clock,
            hooks=Hooks(interpret=Detector(), thinning=self.thinning),
        )
        self._then = work_ms
        self._model = place(directory, detector(), model="detector", schema=SCHEMA)

    async def play(self) -> list[Telemetry]:
        await self.host.activate("detector", *self._model)
        self.work_ms = self._then
        await self.pipeline.run()
        return [message for message in self.told if isinstance(message, Telemetry)]

    def _answer(self, batch: Any) -> list[Any]:
        self.clock.advance(self.work_ms / 1e3)
        return [np.zeros((len(batch), 4, 4), np.float32), np.zeros((len(batch), 4, 2), np.float32)]


def _sums(told: list[Telemetry]) -> tuple[int, int, int]:
    received, processed = sum(each.received for each in told), sum(each.processed for each in told)
    return received, processed, sum(each.dropped_by.get("skipped", 0) for each in told)


async def test_a_hot_device_works_on_fewer_frames_and_says_so(tmp_path: Path) -> None:
    camera, facts = Camera(tmp_path), MemoryFacts(heat=95.0)
    sparing = Sparing(Throttle(Limits()), facts, [camera.pipeline], clock=camera.clock)
    for _ in range(2):
        sparing.turn()
        camera.clock.advance(10)
    told = await camera.play()
    assert _sums(told) == (FRAMES, FRAMES // 4 + 1, FRAMES - FRAMES // 4 - 1)
    assert [(pace.share, pace.reason) for each in told for pace in each.paces] == [(0.5, "heat"), (0.25, "heat")]
    facts.heat = 20.0
    for _ in range(3):
        camera.clock.advance(60)
        sparing.turn()
    assert camera.thinning.share == 1.0


async def test_late_answers_leave_frames_out_and_all_are_counted(tmp_path: Path) -> None:
    told = await Camera(tmp_path, work_ms=400, target_ms=200).play()
    received, processed, skipped = _sums(told)
    assert received == FRAMES == processed + skipped
    assert skipped > FRAMES // 4
    assert sum(each.dropped for each in told) == skipped


async def test_answers_in_time_leave_none_out(tmp_path: Path) -> None:
    assert _sums(await Camera(tmp_path, work_ms=10, target_ms=200).play()) == (FRAMES, FRAMES, 0)


def test_what_has_no_frames_is_not_held_back() -> None:
    told: list[Pace] = []

    class Sensor:
        def pace(self, share: float, *, reason: str) -> None:
            told.append(Pace(at=0.0, share=share, reason=reason))

    clock = VirtualClock()
    sparing = Sparing(Throttle(Limits()), MemoryFacts(), [Sensor()], clock=clock)
    for _ in range(5):
        sparing.turn()
        clock.advance(60)
    assert told == []
