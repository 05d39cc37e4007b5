"""Reads a model's outputs as its own schema says, so that a release may change the kind of answer."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge.inference.runtime import Array
from edge.pipelines.answer import Answer
from edge.pipelines.tasks.port import task_of
from shared.bundle import Schema


class Interpreter:
    """An `Interpret` for every kind of model this agent knows."""

    def __init__(self, *, threshold: float) -> None:
        """Take the least score of a detection, 0 to 1."""
        self._threshold = threshold

    def __call__(self, outputs: list[Array], schema: Schema, x: Array) -> list[Answer | None]:
        return task_of(schema).read(outputs, schema, x, threshold=self._threshold)


def prepare(batch: NDArray[np.float32], schema: Schema) -> NDArray[np.float32]:
    """Inputs [n, *input_shape] as a model of this schema takes them."""
    return task_of(schema).prepare(batch, schema)
