"""What serving and watching for drift cost: a pipeline's step with its sketches against inference alone."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from edge.drift.window import DriftWindow, Observation
from edge.inference.host import Served
from edge.inference.onnx_runtime import OnnxSession
from edge.pipelines.sources.port import Sample
from edge.pipelines.step import infer
from edge.pipelines.tasks.classify import classify
from shared.bundle import Release, Runtime, Schema, Variant
from shared.ids import sha256
from shared.task import Moments
from shared.tasks import adapter
from tests.benchmarks.figure import Figure, compare, in_turns

BATCHES = 400


def measure(*, turns: int = 5) -> Iterator[Figure]:
    """Microseconds for a window of the activity model, one at a time, as a sensor gives them."""
    served = _activity()
    windows = np.random.default_rng(1).standard_normal((BATCHES, 6, 100)).astype(np.float32)
    samples = [Sample(id=f"wrist:{index}", x=x, at=0.0, ready=0.0) for index, x in enumerate(windows)]

    def alone() -> None:
        for window in windows:
            served.session.run(window[np.newaxis])

    def watched() -> None:
        drift = DriftWindow(pipeline="wrist", model="activity")
        for sample in samples:
            outcome = infer(served, [sample], classify)
            answers = [answer for answer in outcome.answers if answer is not None]
            seen = Observation(
                release=outcome.release,
                features=outcome.features,
                confidence=[answer.confidence for answer in answers],
                labels=[label for answer in answers for label in answer.labels],
            )
            drift.add(seen, at=0.0)

    ours, peer = in_turns(watched, alone, turns=turns)
    yield compare(
        name="drift.overhead", ours=1e6 * ours / BATCHES, peer=1e6 * peer / BATCHES, unit="us a window", better="lower",
        what_ours="a pipeline's step: inference, answer, features, sketches, reports", what_peer="session.run alone",
    )  # fmt: skip


def _activity() -> Served:
    task = adapter("activity")
    moments = Moments(count=100, total=np.zeros(6), square=np.full(6, 100.0))
    model = task.to_onnx(task.initial(seed=1, moments=moments))
    schema = Schema(kind="classification", labels=list(task.labels), input_shape=list(task.input_shape))
    variant = Variant(
        name="cpu-fp32.onnx", runtime=Runtime.ONNXRUNTIME, precision="fp32", hardware=["cpu"],
        digest=sha256(model), size=len(model), chunks=[],
    )  # fmt: skip
    release = Release(id="activity-1", model="activity", counter=1, schema=schema, variants=[variant], created=0.0)
    return Served(release=release, variant=variant, session=OnnxSession.from_bytes(model))
