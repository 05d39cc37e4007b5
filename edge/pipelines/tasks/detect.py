"""A detector's outputs as answers."""

from __future__ import annotations

import numpy as np

from edge.inference.runtime import Array
from edge.pipelines.answer import Answer, Detection
from shared.bundle import Schema
from shared.objects import DetectSettings, find_objects


class Detector:
    """Reads outputs `boxes` [n, anchors, 4] (y1, x1, y2, x2 as shares) and `scores` [n, anchors, classes]."""

    def __init__(self, settings: DetectSettings | None = None) -> None:
        self._settings = settings or DetectSettings()

    def __call__(self, outputs: list[Array], schema: Schema) -> list[Answer | None]:
        boxes, scores = outputs
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
