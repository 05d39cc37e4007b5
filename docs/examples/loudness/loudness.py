"""How loud is it, and is that too loud? A kind of model of your own: the graph gives a level, the device adds the rest.

The release's schema says `kind = "loudness"`, and in `reading` the unit, and from where on it is too loud.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edge.pipelines.answer import Answer
from edge.pipelines.tasks.port import Task
from shared.bundle import Schema


class Loudness(Task):
    """Takes windows [1, samples] of sound pressure, gives [n, 1]: the level in dB."""

    def check(self, schema: Schema) -> str:
        """Asked before a byte of a release is fetched; what is said here is the refusal's reason."""
        if schema.read.threshold is None:
            return "it does not say from where on it is too loud (reading.threshold)"
        return "" if len(schema.labels) == 2 else "it names other labels than two: quiet, and too loud"

    def prepare(self, batch: np.ndarray, schema: Schema) -> np.ndarray:
        """Pressure around zero, whatever the microphone's own offset is."""
        return np.asarray(batch - batch.mean(axis=2, keepdims=True), np.float32)

    def fits(self, shapes: list[list[int]], schema: Schema, *, batch: int) -> bool:
        """Asked of each run, also of the first one with made-up inputs: a model that fails here never serves."""
        return shapes == [[batch, 1]]

    def read(self, outputs: list[Any], schema: Schema, x: Any, *, threshold: float) -> list[Answer | None]:
        """One answer an input, in order; None for a number that is none."""
        limit = schema.read.threshold or 0.0
        return [self._answer(level, limit, schema) if np.isfinite(level) else None for level in outputs[0][:, 0]]

    def _answer(self, level: float, limit: float, schema: Schema) -> Answer:
        index = int(level > limit)
        return Answer(
            labels=(schema.labels[index],),
            confidence=1.0,
            index=index,
            value=float(level),
            unit=schema.read.unit,
            tolerance=schema.read.tolerance,
        )


TASK = Loudness()
