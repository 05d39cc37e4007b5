"""From a detector's anchors to objects: threshold, then non-maximum suppression within each class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.inference.runtime import Array
from edge.pipelines.answer import Answer, Detection
from shared.bundle import Schema


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectSettings:
    """Which anchors count as objects."""

    threshold: float = 0.5
    """Least score, 0 to 1."""

    overlap: float = 0.5
    """Intersection over union above which two boxes of one class are one object, 0 to 1."""

    candidates: int = 200
    """Best anchors that suppression looks at: its cost grows with their square."""

    objects: int = 50
    """Most objects in one image."""


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


def find_objects(
    boxes: Array, scores: Array, settings: DetectSettings
) -> tuple[NDArray[np.intp], NDArray[np.float32], NDArray[np.float32]]:
    """Objects of one image, the surest first: class indices [k], scores [k], boxes [k, 4] clipped to the image."""
    over = np.flatnonzero(scores > settings.threshold)  # a tenth of the time that two-dimensional indices take
    values = scores.ravel()[over]
    order = np.argsort(-values, kind="stable")[: settings.candidates]
    values = values[order]
    anchors, labels = np.divmod(over[order], scores.shape[1])
    clipped = np.clip(boxes[anchors], 0.0, 1.0)
    kept = suppress(clipped, labels, overlap=settings.overlap)[: settings.objects]
    return labels[kept], values[kept], clipped[kept]


def suppress(boxes: Array, labels: NDArray[np.intp], *, overlap: float) -> NDArray[np.intp]:
    """Greedy suppression of boxes [k, 4] sorted by falling score: indices of those that stay."""
    rivals = (intersection_over_union(boxes) > overlap) & (labels[:, np.newaxis] == labels)
    alive = np.ones(len(boxes), bool)
    for index in range(len(boxes)):
        if alive[index]:
            alive[index + 1 :] &= ~rivals[index, index + 1 :]
    return np.flatnonzero(alive)


def intersection_over_union(boxes: Array) -> NDArray[np.float32]:
    """Pairwise overlap [k, k] of boxes [k, 4], 0 to 1; boxes without area overlap nothing."""
    y1, x1, y2, x2 = boxes.T
    height = np.minimum.outer(y2, y2) - np.maximum.outer(y1, y1)
    width = np.minimum.outer(x2, x2) - np.maximum.outer(x1, x1)
    shared = np.clip(height, 0, None) * np.clip(width, 0, None)
    area = np.clip(y2 - y1, 0, None) * np.clip(x2 - x1, 0, None)
    union = np.add.outer(area, area) - shared
    overlap: NDArray[np.float32] = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return overlap
