"""What a champion's answers cost with a challenger in its shadow: `python -m tests.benchmarks.shadowing`.

One pipeline over a real isolated session at a steady rate, in alternating stretches with and without a challenger of
the same model, in one run.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path
from random import Random

import numpy as np

from edge.inference.host import ModelHost
from edge.inference.isolated import IsolatedSession
from edge.inference.process import Isolation
from edge.pipelines.answer import Result
from edge.pipelines.hooks import Hooks
from edge.pipelines.pipeline import Pipeline, PipelineSettings
from edge.pipelines.sources.port import Sample
from edge.pipelines.sources.replay import Recording, ReplaySource
from shared.bundle import Challenge, Schema
from shared.clock import SystemClock
from shared.messages import ShadowReport
from tests.models import classifier, place

RATE = 50.0
"""Inputs per second."""

STRETCH_S, STRETCHES = 3.0, 10
SHAPE = [64, 2000]  # a model that takes about a millisecond


class Latencies:
    """A sink that notes how long after its input an answer came."""

    def __init__(self) -> None:
        self.ms: list[float] = []

    def put(self, sample: Sample, result: Result) -> None:
        self.ms.append((time.monotonic() - sample.ready) * 1e3)


async def measure(directory: Path) -> None:
    """Alternate, then say what was found."""
    clock, random = SystemClock(), Random(1)
    host = ModelHost(
        IsolatedSession.loader(Isolation(), clock=clock, random=random),
        challenge=IsolatedSession.loader(Isolation(nice=10), clock=clock, random=random),
    )
    schema = Schema(kind="classification", labels=["low", "high"], input_shape=SHAPE)
    sink, told = Latencies(), []
    recording = Recording(np.ones((64, *SHAPE), np.float32), ("",) * 64)
    pipeline = Pipeline(
        PipelineSettings(name="p", model="toy"),
        source=ReplaySource(recording, stream="s", rate=RATE, clock=clock, loop=True),
        host=host,
        emit=lambda _channel, message: told.append(message),
        clock=clock,
        hooks=Hooks(sinks=[sink]),
    )
    data = classifier(shape=SHAPE)
    await host.activate("toy", *place(directory, data, counter=1, schema=schema))
    running = asyncio.create_task(pipeline.run())
    found: dict[bool, list[float]] = {False: [], True: []}
    for stretch in range(STRETCHES):
        shadowed = stretch % 2 == 1
        if shadowed:
            terms = Challenge(release="toy-2", share=0.25)
            await host.challenge("toy", *place(directory, data, counter=2, schema=schema), terms)
        else:
            await host.unchallenge("toy")
        await asyncio.sleep(0.3)
        sink.ms.clear()
        await asyncio.sleep(STRETCH_S)
        found[shadowed] += sink.ms
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await host.close()
    seen = [report for report in told if isinstance(report, ShadowReport)]
    for shadowed, ms in found.items():
        p50, p99 = np.percentile(ms, [50, 99])
        sys.stdout.write(
            f"shadow {'on ' if shadowed else 'off'}: {len(ms)} inputs, p50 {p50:.2f} ms, p99 {p99:.2f} ms\n"
        )
    shown, skipped = sum(report.inputs for report in seen), sum(report.skipped for report in seen)
    sys.stdout.write(f"the challenger was shown {shown} inputs and spared {skipped}\n")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        asyncio.run(measure(Path(scratch)))
