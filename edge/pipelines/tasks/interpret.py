"""Reads a model's outputs as its own schema says, so that a release may change the kind of answer."""

from __future__ import annotations

from edge.inference.runtime import Array
from edge.pipelines.answer import Answer
from edge.pipelines.tasks.classify import classify
from edge.pipelines.tasks.detect import Detector
from shared.bundle import Schema
from shared.objects import DetectSettings


class Interpreter:
    """An `Interpret` for every kind of model this agent knows."""

    def __init__(self, *, threshold: float) -> None:
        """Take the least score of a detection, 0 to 1."""
        self._detect = Detector(DetectSettings(threshold=threshold))

    def __call__(self, outputs: list[Array], schema: Schema) -> list[Answer | None]:
        if schema.kind == "detection":
            return self._detect(outputs, schema)
        return classify(outputs, schema)
