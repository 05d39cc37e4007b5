"""What watching for drift costs, and what a pipeline's step costs beside its model."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle, islice
from pathlib import Path

import numpy as np

from edge.drift.window import DriftWindow
from edge.inference.host import Served
from edge.inference.onnx_runtime import OnnxSession
from edge.pipelines.observing import observe
from edge.pipelines.sources.film import Scaler, play
from edge.pipelines.sources.port import Sample
from edge.pipelines.step import Outcome, infer
from edge.pipelines.tasks.interpret import Interpreter
from shared.bundle import Release, Runtime, Schema, Variant
from shared.clock import SystemClock
from shared.ids import sha256
from shared.task import Moments
from shared.tasks import adapter
from simulations.detector.labels import SCHEMA
from simulations.packages import fetch
from tests.benchmarks.figure import Figure, compare, in_turns

BATCHES = 400
FRAMES = 150
STREAM_S = 10.0
"""How long inputs come as fast as the model answers."""

INTERPRET = Interpreter(threshold=0.5)


def measure(*, turns: int = 5) -> Iterator[Figure]:
    """Microseconds for an input, one at a time and one after the other, as fast as the model allows: the worst case."""
    activity, windows = _activity(), _windows()
    yield _share("drift.share_sensor", activity, windows, turns=turns)
    data = fetch(Path(".hinterland") / "data")
    detector = _served(data.detector_int8.read_bytes(), model="detector", schema=SCHEMA)
    yield _share("drift.share_video", detector, _frames(data.vtest), turns=turns)
    yield _step(activity, windows, turns=turns)


def _share(name: str, served: Served, samples: Sequence[Sample], *, turns: int) -> Figure:
    """Drift alone, shown the answers at the pace at which the model gave them, against the model alone."""
    outcomes = [infer(served, [sample], INTERPRET) for sample in samples]
    alone = min(_timed(lambda: [served.session.run(each.x[np.newaxis]) for each in samples]) for _ in range(turns))
    step_s = alone / len(samples)
    count = round(STREAM_S / step_s)
    watching = min(_timed(lambda: _watch(outcomes, count, step_s)) for _ in range(turns))
    return compare(
        name=name, ours=1e6 * watching / count, peer=1e6 * step_s, unit="us an input",
        better="lower", what_ours="features, sketches and reports of drift", what_peer="session.run alone",
    )  # fmt: skip


def _watch(outcomes: Sequence[Outcome], count: int, step_s: float) -> None:
    window = DriftWindow(pipeline="p", model="m")
    for index, outcome in enumerate(islice(cycle(outcomes), count)):
        observe(window, outcome, ticks=index * step_s, at=0.0)
    window.flush(at=0.0)


def _step(served: Served, samples: Sequence[Sample], *, turns: int) -> Figure:
    clock = SystemClock()

    def alone() -> None:
        for sample in samples:
            served.session.run(sample.x[np.newaxis])

    def whole() -> None:
        window = DriftWindow(pipeline="wrist", model="activity")
        for sample in samples:
            outcome = infer(served, [sample], INTERPRET)
            observe(window, outcome, ticks=clock.monotonic(), at=0.0)

    ours, peer = in_turns(whole, alone, turns=turns)
    return compare(
        name="step.overhead", ours=1e6 * ours / BATCHES, peer=1e6 * peer / BATCHES, unit="us a window", better="lower",
        what_ours="a pipeline's step: inference, answer, drift", what_peer="session.run alone",
    )  # fmt: skip


def _windows() -> list[Sample]:
    windows = np.random.default_rng(1).standard_normal((BATCHES, 6, 100)).astype(np.float32)
    return [Sample(id=f"wrist:{index}", x=x, at=0.0, ready=0.0) for index, x in enumerate(windows)]


def _frames(path: Path) -> list[Sample]:
    scaler, shape = Scaler(), tuple(SCHEMA.input_shape)
    frames = islice(play(path, fps=None, loop=False), FRAMES)
    return [
        Sample(id=f"street:{index}", x=scaler.scale(frame, shape), at=0.0, ready=0.0)
        for index, (_, frame) in enumerate(frames)
    ]


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _activity() -> Served:
    task = adapter("activity")
    moments = Moments(count=100, total=np.zeros(6), square=np.full(6, 100.0))
    model = task.to_onnx(task.initial(seed=1, moments=moments))
    schema = Schema(kind="classification", labels=list(task.labels), input_shape=list(task.input_shape))
    return _served(model, model="activity", schema=schema)


def _served(data: bytes, *, model: str, schema: Schema) -> Served:
    variant = Variant(
        name="cpu.onnx", runtime=Runtime.ONNXRUNTIME, precision="fp32", hardware=["cpu"], digest=sha256(data),
        size=len(data), chunks=[],
    )  # fmt: skip
    release = Release(id=f"{model}-1", model=model, counter=1, schema=schema, variants=[variant], created=0.0)
    return Served(release=release, variant=variant, session=OnnxSession.from_bytes(data))
