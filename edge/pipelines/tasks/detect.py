"""A detector's outputs as answers."""

from __future__ import annotations

import numpy as np

from edge.inference.runtime import Array
from edge.pipelines.answer import Answer, Detection
from edge.pipelines.tasks.port import Task
from shared.bundle import Schema
from shared.heads import HEADS, SSD, decode, head_fits
from shared.objects import DetectSettings, find_objects


class Detector:
    """Reads anchors of any layout that `shared.heads` knows."""

    def __init__(self, settings: DetectSettings | None = None) -> None:
        self._settings = settings or DetectSettings()

    def __call__(self, outputs: list[Array], schema: Schema, _x: Array | None = None) -> list[Answer | None]:
        boxes, scores = decode(schema.read.head or SSD, outputs, input_shape=schema.input_shape)
        return [self._answer(b, s, schema) for b, s in zip(boxes, scores, strict=True)]

    def _answer(self, boxes: Array, scores: Array, schema: Schema) -> Answer | None:
        if not (np.isfinite(scores).all() and np.isfinite(boxes).all()):
            return None
        found = find_objects(boxes, scores, self._settings)
        detections = tuple(
            Detection(schema.labels[label], score, (y1, x1, y2, x2))
            for label, score, (y1, x1, y2, x2) in zip(*(part.tolist() for part in found), strict=True)
        )
        return Answer(
            labels=tuple(detection.label for detection in detections),
            confidence=detections[0].score if detections else 0.0,
            detections=detections,
        )


class ObjectDetection(Task):
    """Boxes and scores of anchors, in the layout that `reading.head` names; `ssd` when it names none."""

    together = False  # a run costs as much more as it has more images, so that together all would only wait

    def check(self, schema: Schema) -> str:
        if len(schema.input_shape) != 3:
            return f"it takes {schema.input_shape}, not an image [channels, height, width]"
        if (schema.read.head or SSD) not in HEADS:
            return f"its head is {schema.read.head[:40]!r}; known are {', '.join(HEADS)}"
        return "" if schema.labels else "it names no labels"

    def fits(self, shapes: list[list[int]], schema: Schema, *, batch: int) -> bool:
        return head_fits(schema.read.head or SSD, shapes, batch=batch, labels=len(schema.labels))

    def read(self, outputs: list[Array], schema: Schema, x: Array, *, threshold: float) -> list[Answer | None]:
        return Detector(DetectSettings(threshold=threshold))(outputs, schema, x)


TASK = ObjectDetection()
