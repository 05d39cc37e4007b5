"""A number with a unit: a level, a load, the life that is left; with an interval where the model gives one."""

from __future__ import annotations

import numpy as np

from edge.inference.runtime import Array
from edge.pipelines.answer import Answer
from edge.pipelines.tasks.port import Task
from shared.bundle import Reading, Schema

VALUE, INTERVAL = "value", "interval"


class Regression(Task):
    """Head `value` gives [n] or [n, 1]; head `interval` gives [n, 3]: value, lower end, upper end."""

    def check(self, schema: Schema) -> str:
        reading = schema.read
        if (reading.head or VALUE) not in (VALUE, INTERVAL):
            return f"its head is {reading.head[:40]!r}; known are {VALUE}, {INTERVAL}"
        if reading.head == INTERVAL and not 0 < reading.coverage < 1:
            return "it gives an interval and does not say how many values lie in it (reading.coverage)"
        if not reading.scale or reading.tolerance < 0:
            return "reading.scale is 0, or reading.tolerance below it"
        low, high = reading.low, reading.high
        return "reading.low is not below reading.high" if low is not None and high is not None and low >= high else ""

    def fits(self, shapes: list[list[int]], schema: Schema, *, batch: int) -> bool:
        wanted = [[batch, 3]] if schema.read.head == INTERVAL else [[batch], [batch, 1]]
        return len(shapes) == 1 and shapes[0] in wanted

    def read(self, outputs: list[Array], schema: Schema, x: Array, *, threshold: float) -> list[Answer | None]:
        reading = schema.read
        rows = outputs[0].reshape(len(outputs[0]), -1).astype(np.float64) * reading.scale + reading.offset
        rows = np.clip(rows, reading.low, reading.high) if reading.low is not None or reading.high is not None else rows
        return [_answer(row, reading) if np.isfinite(row).all() else None for row in rows]


def _answer(row: Array, reading: Reading) -> Answer:
    value, *ends = row.tolist()
    return Answer(
        labels=(),
        confidence=0.0,
        value=value,
        interval=(min(ends), max(ends)) if ends else None,
        unit=reading.unit,
        tolerance=reading.tolerance,
    )


TASK = Regression()
