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
from types import MappingProxyType

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
from edge.pipelines.sources.port import Sample, Source
from edge.pipelines.sources.replay import Recording, ReplaySource
from edge.pipelines.sources.video import VideoSettings, video_source
from edge.pipelines.tasks.interpret import Interpreter
from shared.bundle import Schema
from shared.clock import SystemClock
from shared.messages import Stall
from shared.task import Moments
from shared.tasks import adapter
from simulations.detector.labels import SCHEMA
from simulations.packages import Data, fetch
from tests.benchmarks.figure import Figure, compare
from tests.models import place

FRAMES, TURNS = 300, 8
CAMERAS, EACH = 4, 150
BATCH, BATCHES = 64, 300
"""Windows handed to the model at once, and how often."""

PACE, PACED = 100.0, 1000
"""Windows a second of a sensor whose answers are timed one by one, and how many."""

FPS, SWAPS = 25.0, 6
"""Frames a second while models are swapped, and how often they are."""


class Arrivals:
    """A sink that notes when answers came."""

    def __init__(self) -> None:
        self.at: list[float] = []
        self.late_ms: list[float] = []
        """Milliseconds since the input was ready."""

    def put(self, sample: Sample, result: Result) -> None:
        self.at.append(time.perf_counter())
        self.late_ms.append((time.monotonic() - sample.ready) * 1e3)


class Paced:
    """Windows one at a time; each is ready when it is handed over, so that no timer's lateness counts as ours."""

    received, dropped = 0, MappingProxyType[str, int]({})

    def __init__(self, windows: NDArray[np.float32]) -> None:
        self._left = iter(windows)

    def stalls(self) -> list[Stall]:
        return []

    def fit(self, schema: Schema) -> None:
        """Windows are as they are."""

    async def take(self, limit: int) -> list[Sample]:
        await asyncio.sleep(1 / PACE)
        self.received += 1
        now = time.monotonic()
        return [Sample(id=f"wrist:{self.received}", x=x, at=0.0, ready=now) for x in islice(self._left, 1)]

    async def close(self) -> None:
        """Nothing is held."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """What a device has before its pipelines start."""

    host: ModelHost
    speaker: Speaker

    def pipeline(
        self, name: str, source: Source, sink: Arrivals, *, model: str = "detector", batch: int = 16
    ) -> Pipeline:
        """A pipeline as an agent makes it."""
        return Pipeline(
            PipelineSettings(name=name, model=model, batch=batch),
            source=source,
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
    with tempfile.TemporaryDirectory() as directory:
        yield asyncio.run(_measure_windows(Path(directory)))
    with tempfile.TemporaryDirectory() as directory:
        yield asyncio.run(_measure_latency(Path(directory)))
    with tempfile.TemporaryDirectory() as directory:
        yield asyncio.run(_measure_swaps(Path(directory), data))


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
    frames = {"one": FRAMES, "four": CAMERAS * EACH, "bare": FRAMES, "decode": FRAMES}
    fps = {name: frames[name] / seconds for name, seconds in best.items()}
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
    """Seconds for `FRAMES` frames of one camera, or `EACH` of several at once."""
    clock, share = SystemClock(), FRAMES if cameras == 1 else EACH
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


async def _measure_windows(directory: Path) -> Figure:
    """A sensor's windows as fast as they are taken."""
    model, schema = _activity()
    device = await _device(directory, model, schema, name="activity")
    bare = OnnxSession.from_bytes(model)
    x = np.random.default_rng(1).normal(size=(BATCH * BATCHES, *schema.input_shape)).astype(np.float32)
    recording = Recording(x, ("",) * len(x))
    best = {"ours": float("inf"), "bare": float("inf")}
    for _ in range(TURNS + 1):
        source = ReplaySource(recording, stream="wrist", rate=1e9, clock=SystemClock())
        sink = Arrivals()
        pipeline = device.pipeline("wrist", source, sink, model="activity", batch=BATCH)
        began = time.perf_counter()
        await pipeline.run()
        best["ours"] = min(best["ours"], sink.at[-1] - began)
        assert len(sink.at) == len(x)
        best["bare"] = min(best["bare"], _timed(lambda: [bare.run(x[i : i + BATCH]) for i in range(0, len(x), BATCH)]))
    await device.host.close()
    return compare(
        name="pipeline.windows", ours=len(x) / best["ours"], peer=len(x) / best["bare"], unit="windows/s",
        better="higher", what_ours=f"windows to classes, reports and sketches, {BATCH} at once",
        what_peer=f"session.run of the same model, {BATCH} at once, one thread",
    )  # fmt: skip


async def _measure_latency(directory: Path) -> Figure:
    """One window at a time, at a sensor's pace: from the moment it is ready to the moment its answer is there."""
    model, schema = _activity()
    device = await _device(directory, model, schema, name="activity")
    x = np.random.default_rng(1).normal(size=(PACED, *schema.input_shape)).astype(np.float32)
    sink = Arrivals()
    await device.pipeline("wrist", Paced(x), sink, model="activity").run()
    await device.host.close()
    bare, alone = OnnxSession.from_bytes(model), []
    for window in x:
        time.sleep(1 / PACE)  # as cold as the pipeline's
        alone.append(_timed(partial(bare.run, window[np.newaxis])) * 1e3)
    ours, peer = float(np.percentile(sink.late_ms, 99)), float(np.percentile(alone, 99))
    return compare(
        name="pipeline.latency_p99", ours=ours, peer=peer, unit=f"ms ({ours - peer:.2f} added)", better="lower",
        what_ours=f"handed over to answered, 99th percentile of {PACED} windows at {PACE:.0f} a second",
        what_peer="session.run at the same pace, 99th percentile",
    )  # fmt: skip


async def _measure_swaps(directory: Path, data: Data) -> Figure:
    """A camera whose model is swapped again and again: the longest time without an answer, and what was lost."""
    model = data.detector_int8.read_bytes()
    device = await _device(directory, model, SCHEMA, name="detector")
    clock, sink = SystemClock(), Arrivals()
    frames = np.stack(_inputs(data.vtest)[:100])
    source = ReplaySource(Recording(frames, ("",) * len(frames)), stream="c", rate=FPS, clock=clock, loop=True)
    running = asyncio.create_task(device.pipeline("c", source, sink).run())
    while len(sink.at) < 10:
        await asyncio.sleep(0.01)
    for counter in range(2, SWAPS + 2):
        await device.host.activate(
            "detector", *place(directory, model, model="detector", schema=SCHEMA, counter=counter)
        )
        await asyncio.sleep(1)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await device.host.close()
    assert len(sink.at) == source.received, "a frame was dropped"
    gap = float(np.diff(sink.at).max()) * FPS
    return compare(
        name="pipeline.swap_gap", ours=gap, peer=2.0, unit="frame times", better="lower",
        what_ours=f"longest time between answers, {FPS:.0f} frames/s, {SWAPS} swaps, none dropped",
        what_peer="what is allowed",
    )  # fmt: skip


def _activity() -> tuple[bytes, Schema]:
    task = adapter("activity")
    moments = Moments(count=100, total=np.zeros(6), square=np.full(6, 100.0))
    schema = Schema(kind="classification", labels=list(task.labels), input_shape=list(task.input_shape))
    return task.to_onnx(task.initial(seed=1, moments=moments)), schema


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
