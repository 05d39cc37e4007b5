"""Is this input like those that the model has learned? By its reconstruction, its forecast, or its own score."""

from __future__ import annotations

import numpy as np

from edge.inference.runtime import Array
from edge.pipelines.answer import Answer
from edge.pipelines.tasks.port import Task
from shared.anomaly import HEADS, RECONSTRUCTION, head_fits, scores
from shared.bundle import Schema


class Anomaly(Task):
    """Labels are two: what an input under `reading.threshold` is, and what one over it is."""

    def check(self, schema: Schema) -> str:
        if (schema.read.head or RECONSTRUCTION) not in HEADS:
            return f"its head is {schema.read.head[:40]!r}; known are {', '.join(HEADS)}"
        if schema.read.threshold is None or not schema.read.threshold > 0:
            return "it has no reading.threshold above 0"
        return "" if len(schema.labels) == 2 else "it names other labels than two: normal, and not"

    def fits(self, shapes: list[list[int]], schema: Schema, *, batch: int) -> bool:
        return head_fits(schema.read.head or RECONSTRUCTION, shapes, batch=batch, input_shape=schema.input_shape)

    def read(self, outputs: list[Array], schema: Schema, x: Array, *, threshold: float) -> list[Answer | None]:
        least = schema.read.threshold or 0.0
        given = scores(schema.read.head or RECONSTRUCTION, outputs[0], x)
        return [_answer(score, least, schema) if np.isfinite(score) else None for score in given.tolist()]


def _answer(score: float, threshold: float, schema: Schema) -> Answer:
    index = int(score > threshold)
    larger, smaller = (score, threshold) if index else (threshold, score)
    sure = larger / (larger + max(0.0, smaller))  # no probability: one half at the threshold, 1 far from it
    return Answer(labels=(schema.labels[index],), confidence=sure, index=index, value=score)


TASK = Anomaly()
