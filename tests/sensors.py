"""A sensor's source in a test: made from its settings as an agent does it, and listened to until it has said enough."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random
from typing import Any

import msgspec
import numpy as np

from edge.pipelines.sources.port import Sample
from edge.pipelines.sources.sensors.making import make_sensor
from edge.pipelines.sources.sensors.source import SensorSource
from edge.settings import sensors as conf
from shared.bundle import Schema, Signal
from shared.clock import SystemClock
from shared.messages import Stall

PATIENCE_S = 60.0
"""For machines that are slow and busy."""


def schema_of(shape: list[int], *, rate: float = 0.0, channels: list[str] = [], units: list[str] = []) -> Schema:  # noqa: B006
    """A model's schema for windows."""
    return Schema(
        kind="classification",
        labels=["a", "b"],
        input_shape=shape,
        signal=Signal(rate=rate, channels=channels, units=units),
    )


def sensor(settings: dict[str, Any], schema: Schema) -> SensorSource:
    """The source that a pipeline's `source` table names, fitted to a model."""
    source = make_sensor(msgspec.convert(settings, conf.Sensor), stream="s", clock=SystemClock(), random=Random(7))
    source.fit(schema)
    return source


async def take(source: SensorSource, count: int) -> list[Sample]:
    """The next windows, or as many as come before it ends."""
    taken: list[Sample] = []
    async with asyncio.timeout(PATIENCE_S):
        while len(taken) < count and (some := await source.take(count - len(taken))):
            taken += some
    return taken


async def everything(source: SensorSource) -> np.ndarray:
    """All windows of a recording, as one array."""
    return np.stack([sample.x for sample in await take(source, 1 << 30)])


async def stall(source: SensorSource, wanted: Callable[[Stall], bool]) -> Stall:
    """The first stall that is meant."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            for each in source.stalls():
                if wanted(each):
                    return each
            await asyncio.sleep(0.02)
