"""The detector on the street film: decoded, inferred by ONNX Runtime, reported, drawn."""

from pathlib import Path

import cv2
import pytest

from edge.inference.host import ModelHost
from edge.inference.onnx_runtime import OnnxSession
from edge.pipelines.answer import Result
from edge.pipelines.hooks import Hooks
from edge.pipelines.pipeline import Pipeline, PipelineSettings
from edge.pipelines.sinks import Snapshot
from edge.pipelines.sources.port import Sample
from edge.pipelines.sources.video import VideoSettings, video_source
from edge.pipelines.tasks.detect import Detector
from shared.clock import SystemClock
from shared.messages import DriftReport, Telemetry
from shared.sketch import Sketch
from simulations.detector.labels import SCHEMA
from simulations.packages import Data
from tests.models import place

pytestmark = [pytest.mark.system]

FRAMES = 60


class Every:
    """A sink that keeps all results."""

    def __init__(self) -> None:
        self.results: list[Result] = []

    def put(self, sample: Sample, result: Result) -> None:
        self.results.append(result)


async def test_pedestrians_are_found_on_the_real_film(data: Data, tmp_path: Path) -> None:
    clock, told = SystemClock(), []
    host = ModelHost(OnnxSession.from_bytes)
    await host.activate("detector", *place(tmp_path, data.detector_int8.read_bytes(), model="detector", schema=SCHEMA))
    source = video_source(VideoSettings(path=data.vtest), stream="street", clock=clock)
    every, shot = Every(), tmp_path / "street.jpg"
    pipeline = Pipeline(
        PipelineSettings(name="street", model="detector"),
        source=source,
        host=host,
        emit=lambda channel, message: told.append(message),
        clock=clock,
        hooks=Hooks(interpret=Detector(), sinks=[every, Snapshot(shot, clock=clock, every_s=0.5)]),
    )
    for _ in range(FRAMES):
        assert await pipeline.turn()
    await pipeline.close()

    people = [result.answer.labels.count("person") for result in every.results]
    assert [result.id for result in every.results] == [f"street:{index}" for index in range(FRAMES)]
    assert sum(count > 0 for count in people) > 0.8 * FRAMES
    telemetry = [message for message in told if isinstance(message, Telemetry)]
    assert sum(message.processed for message in telemetry) == FRAMES
    assert sum(message.counts.get("person", 0) for message in telemetry) == sum(people)
    assert sum(message.errors for message in telemetry) == 0
    assert {reason for message in telemetry for reason in message.dropped_by} <= {"stopped"}  # decoded, never asked for
    came = sum(message.received for message in telemetry)
    assert came == FRAMES + sum(message.dropped for message in telemetry)
    (drift,) = [message for message in told if isinstance(message, DriftReport)]
    assert sorted(drift.features) == ["brightness", "contrast", "sharpness"]
    assert Sketch.from_bytes(drift.confidence).quantile(0.5) > 0.5
    picture = cv2.imread(str(shot))
    assert picture is not None
    assert picture.shape == (576, 768, 3)
