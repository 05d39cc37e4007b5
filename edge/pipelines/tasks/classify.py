"""From logits to a class and its probability: what an image shows, what a wrist does, what is wrong with a machine."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge.inference.runtime import Array
from edge.pipelines.answer import Answer
from edge.pipelines.tasks.port import Task
from shared.bundle import Schema


def softmax(logits: Array) -> NDArray[np.float64]:
    """Probabilities [n, classes] of logits [n, classes]; rows add up to 1."""
    shifted = np.asarray(logits, np.float64)
    shifted = np.exp(shifted - shifted.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True), np.float64)


def classify(outputs: list[Array], schema: Schema, _x: Array | None = None) -> list[Answer | None]:
    """Top-1 class of each input."""
    logits = outputs[0]
    finite = np.asarray(np.isfinite(logits).all(axis=1))
    probabilities = softmax(np.where(finite[:, np.newaxis], logits, 0))
    top = probabilities.argmax(axis=1).tolist()
    confidence = probabilities.max(axis=1).tolist()
    return [
        Answer(labels=(schema.labels[index],), confidence=sure, index=index) if good else None
        for index, sure, good in zip(top, confidence, finite.tolist(), strict=True)
    ]


class Classification(Task):
    """Logits [n, labels]."""

    def check(self, schema: Schema) -> str:
        return "" if schema.labels else "it names no labels"

    def fits(self, shapes: list[list[int]], schema: Schema, *, batch: int) -> bool:
        return shapes == [[batch, len(schema.labels)]]

    def read(self, outputs: list[Array], schema: Schema, x: Array, *, threshold: float) -> list[Answer | None]:
        return classify(outputs, schema, x)


TASK = Classification()
