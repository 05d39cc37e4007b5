"""From a detector's anchors to objects, and whether two detectors see the same ones.

Threshold, then non-maximum suppression within each class.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

SAME = 0.5
"""Intersection over union from which two boxes of one class are the same object, as in PASCAL VOC."""

Real = TypeVar("Real", np.float32, np.float64)

Objects = tuple[NDArray[np.intp], NDArray[np.float32], NDArray[np.float32]]
"""Classes [k], scores [k] and boxes [k, 4] of one image, the surest first."""


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


def find_objects(boxes: NDArray[np.float32], scores: NDArray[np.float32], settings: DetectSettings) -> Objects:
    """Objects of one image, the surest first: class indices [k], scores [k], boxes [k, 4] clipped to the image."""
    over = np.flatnonzero(scores > settings.threshold)  # a tenth of the time that two-dimensional indices take
    values = scores.ravel()[over]
    order = np.argsort(-values, kind="stable")[: settings.candidates]
    values = values[order]
    anchors, labels = np.divmod(over[order], scores.shape[1])
    clipped = np.clip(boxes[anchors], 0.0, 1.0)
    kept = suppress(clipped, labels, overlap=settings.overlap)[: settings.objects]
    return labels[kept], values[kept], clipped[kept]


def suppress(boxes: NDArray[np.float32], labels: NDArray[np.intp], *, overlap: float) -> NDArray[np.intp]:
    """Greedy suppression of boxes [k, 4] sorted by falling score: indices of those that stay."""
    rivals = (intersection_over_union(boxes) > overlap) & (labels[:, np.newaxis] == labels)
    alive = np.ones(len(boxes), bool)
    for index in range(len(boxes)):
        if alive[index]:
            alive[index + 1 :] &= ~rivals[index, index + 1 :]
    return np.flatnonzero(alive)


def intersection_over_union(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Pairwise overlap [k, k] of boxes [k, 4], 0 to 1; boxes without area overlap nothing."""
    y1, x1, y2, x2 = boxes.T
    height = np.minimum.outer(y2, y2) - np.maximum.outer(y1, y1)
    width = np.minimum.outer(x2, x2) - np.maximum.outer(x1, x1)
    shared = np.clip(height, 0, None) * np.clip(width, 0, None)
    area = np.clip(y2 - y1, 0, None) * np.clip(x2 - x1, 0, None)
    union = np.add.outer(area, area) - shared
    overlap: NDArray[np.float32] = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return overlap


def matched(objects: Objects, others: Objects) -> int:
    """How many of `objects` have one of their class among `others` that overlaps them."""
    if not len(objects[0]) or not len(others[0]):
        return 0
    same = (overlaps(objects[2], others[2]) >= SAME) & (objects[0][:, np.newaxis] == others[0])
    return int(same.any(axis=1).sum())


def overlaps(boxes: NDArray[Real], others: NDArray[Real]) -> NDArray[Real]:
    """Intersection over union [n, m] of boxes [n, 4] and [m, 4], 0 to 1; boxes without area overlap nothing."""
    low = np.maximum(boxes[:, np.newaxis, :2], others[:, :2])
    high = np.minimum(boxes[:, np.newaxis, 2:], others[:, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    areas = [np.clip(part[:, 2:] - part[:, :2], 0, None).prod(axis=1) for part in (boxes, others)]
    union = areas[0][:, np.newaxis] + areas[1] - shared
    result: NDArray[Real] = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return result
