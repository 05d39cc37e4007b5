"""Detections of a film through the whole agent's path against what the model and the decoder alone would allow.

One thread within an operator everywhere. Ours: the film is decoded, scaled and judged in the source's thread, the
model runs in its own confined process, answers are read, sketched and reported through the outbox on disk.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray

from edge.inference.host import ModelHost
from edge.inference.isolated import IsolatedSession
from edge.inference.onnx_runtime import OnnxSession
from edge.inference.process import Isolation
from edge.link.outbox import Outbox
from edge.link.speaker import Speaker
from edge.pipelines.answer import Result
from edge.pipelines.hooks import Hooks
from edge.pipelines.pipeline import Pipeline, PipelineSettings
from edge.pipelines.sources.film import Scaler, play
from edge.pipelines.sources.port import Sample
from edge.pipelines.sources.video import VideoSettings, video_source
from edge.pipelines.tasks.interpret import Interpreter
from shared.bundle import Schema
from shared.clock import SystemClock
from simulations.detector.labels import SCHEMA
from simulations.packages import Data, fetch
from tests.benchmarks.figure import Figure, compare
from tests.models import place

FRAMES, TURNS = 300, 5
CAMERAS = 4


class Arrivals:
    """A sink that notes when answers came."""

    def __init__(self) -> None:
        self.at: list[float] = []

    def put(self, sample: Sample, result: Result) -> None:
        self.at.append(time.perf_counter())


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """What a device has before its pipelines start."""

    host: ModelHost
    speaker: Speaker

    def pipeline(self, name: str, source: object, sink: Arrivals, *, model: str = "detector") -> Pipeline:
        """A pipeline as an agent makes it."""
        return Pipeline(
            PipelineSettings(name=name, model=model),
            source=source,  # type: ignore[arg-type]
            host=self.host,
            emit=self.speaker,
            clock=SystemClock(),
            hooks=Hooks(interpret=Interpreter(threshold=0.5), sinks=[sink]),
        )


def measure() -> Iterator[Figure]:
    """Frames per second of one camera and of four, against the model and the decoder alone."""
    data = fetch(Path(".hinterland") / "data")
    with tempfile.TemporaryDirectory() as directory:
        yield from asyncio.run(_measure(Path(directory), data))


async def _measure(directory: Path, data: Data) -> list[Figure]:
    model = data.detector_int8.read_bytes()
    device = await _device(directory, model, SCHEMA, name="detector")
    inputs = _inputs(data.vtest)
    bare = OnnxSession.from_bytes(model)
    film = partial(_film, device, data.vtest)
    best: dict[str, float] = {}
    for turn in range(TURNS + 1):
        took = {
            "one": await film(1),
            "four": await film(CAMERAS),
            "bare": _timed(lambda: [bare.run(x[np.newaxis]) for x in inputs]),
            "decode": _timed(lambda: _inputs(data.vtest)),
        }
        if turn:
            best = {name: min(seconds, best.get(name, seconds)) for name, seconds in took.items()}
    await device.host.close()
    fps = {name: FRAMES / seconds for name, seconds in best.items()}
    slower = min(fps["bare"], fps["decode"])
    return [
        compare(
            name="pipeline.fps", ours=fps["one"], peer=fps["bare"], unit="frames/s", better="higher",
            what_ours="film to detections, one thread in the model, decoding in another",
            what_peer="session.run of the same model on decoded frames, one thread",
        ),
        compare(
            name="pipeline.of_the_slower", ours=fps["one"], peer=slower, unit="frames/s", better="higher",
            what_ours="film to detections", what_peer="the slower of decoding alone and the model alone",
        ),
        compare(
            name="pipeline.cameras", ours=fps["four"], peer=fps["one"], unit="frames/s", better="higher",
            what_ours=f"{CAMERAS} cameras at once in one agent, all together", what_peer="one camera alone",
        ),
    ]  # fmt: skip


async def _film(device: Device, path: Path, cameras: int) -> float:
    """Seconds for `FRAMES` frames, shared by so many cameras."""
    clock, share = SystemClock(), FRAMES // cameras
    sinks = [Arrivals() for _ in range(cameras)]
    pipelines = []
    for number, sink in enumerate(sinks):
        source = video_source(VideoSettings(path=path), stream=f"c{number}", clock=clock)
        pipelines.append(device.pipeline(f"c{number}", source, sink))
    began = time.perf_counter()

    async def play_one(pipeline: Pipeline, sink: Arrivals) -> None:
        running = asyncio.create_task(pipeline.run())
        while len(sink.at) < share:
            await asyncio.sleep(0.002)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    await asyncio.gather(*(play_one(*pair) for pair in zip(pipelines, sinks, strict=True)))
    return max(sink.at[share - 1] for sink in sinks) - began


async def _device(directory: Path, model: bytes, schema: Schema, *, name: str) -> Device:
    clock, random = SystemClock(), Random(1)
    host = ModelHost(IsolatedSession.loader(Isolation(), clock=clock, random=random))
    await host.activate(name, *place(directory, model, model=name, schema=schema))
    outbox = Outbox.open(directory / "outbox", cap=64 << 20, clock=clock, random=random)
    return Device(host=host, speaker=Speaker(outbox))


def _inputs(path: Path) -> list[NDArray[np.float32]]:
    scaler, shape = Scaler(), tuple(SCHEMA.input_shape)
    return [scaler.scale(frame, shape) for _, frame in islice(play(path, fps=None, loop=False), FRAMES)]


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
