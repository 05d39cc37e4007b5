"""Whether a file answers as the float model does: counts over the same inputs, which add up over devices.

The float model is the truth here. Classification: the same first label, by class. Detection: its objects found again,
and the average precision of what is found (PASCAL VOC's, over all points; Everingham et al., IJCV 88, 2010).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from shared.objects import SAME, DetectSettings, Objects, find_objects, matched, overlaps

Answers = Sequence[NDArray[np.float32]]
"""A model's outputs over some inputs, each [n, …]."""

LEAST_SCORE = 0.05
"""Objects below it have no part in precision: nobody would see them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Likeness:
    """How one file's answers compare with the float model's."""

    inputs: int
    present: tuple[int, ...]
    """By class: inputs that the float model puts there, or objects of it that it finds."""

    found: tuple[int, ...]
    """By class: of these, as many as the file says so of, or finds too."""

    claimed: int
    """Detection: objects that the file finds; the inputs, otherwise."""

    precision: float
    """Detection: mean average precision over the classes present, 0 to 1; for classification the share that agrees."""

    difference: float
    """The largest, over the outputs, of the mean difference of values as a share of the float output's span."""

    @property
    def agreement(self) -> float:
        """Share of what the float model says that the file says too, 0 to 1; 1 where there was nothing to say."""
        return sum(self.found) / sum(self.present) if sum(self.present) else 1.0

    @property
    def worst(self) -> tuple[int, float] | None:
        """The class with the least share, and that share; None where no class was present."""
        shares = [(found / present, label) for label, (found, present) in enumerate(self._pairs) if present]
        return (min(shares)[1], min(shares)[0]) if shares else None

    @property
    def _pairs(self) -> list[tuple[int, int]]:
        return list(zip(self.found, self.present, strict=True))


def compare(truth: Answers, said: Answers, *, kind: str, settings: DetectSettings | None = None) -> Likeness:
    """Hold a file's answers against the float model's over the same inputs.

    Args:
        truth: of the float model: logits [n, classes], or boxes [n, anchors, 4] and scores [n, anchors, classes].
        said: of the file, of the same shapes and finite.
        kind: of the model's schema.
        settings: which anchors count as objects.
    """
    difference = max(_difference(a, b) for a, b in zip(truth, said, strict=True))
    if kind == "detection":
        return _detection(truth, said, settings or DetectSettings(), difference)
    classes = truth[0].shape[1]
    first, second = truth[0].argmax(axis=1), said[0].argmax(axis=1)
    present = np.bincount(first, minlength=classes)
    found = np.bincount(first[first == second], minlength=classes)
    return Likeness(
        inputs=len(first),
        present=tuple(present.tolist()),
        found=tuple(found.tolist()),
        claimed=len(second),
        precision=float((first == second).mean()),
        difference=difference,
    )


def _detection(truth: Answers, said: Answers, settings: DetectSettings, difference: float) -> Likeness:
    classes = truth[1].shape[2]
    wanted = [find_objects(boxes, scores, settings) for boxes, scores in zip(*truth, strict=True)]
    seen = [find_objects(boxes, scores, settings) for boxes, scores in zip(*said, strict=True)]
    faint = DetectSettings(threshold=LEAST_SCORE, overlap=settings.overlap)
    all_seen = [find_objects(boxes, scores, faint) for boxes, scores in zip(*said, strict=True)]
    labels = range(classes)
    present = [sum(int((each[0] == label).sum()) for each in wanted) for label in labels]
    found = [sum(matched(_of(a, label), _of(b, label)) for a, b in zip(wanted, seen, strict=True)) for label in labels]
    precisions = [
        average_precision([_of(each, label) for each in wanted], [_of(each, label) for each in all_seen])
        for label in labels
        if present[label]
    ]
    return Likeness(
        inputs=len(wanted),
        present=tuple(present),
        found=tuple(found),
        claimed=sum(len(each[0]) for each in seen),
        precision=float(np.mean(precisions)) if precisions else 1.0,
        difference=difference,
    )


@dataclass(slots=True)
class _Claims:
    scores: list[float] = field(default_factory=list)
    right: list[bool] = field(default_factory=list)


def average_precision(truth: Sequence[Objects], said: Sequence[Objects]) -> float:
    """Area under precision over recall for objects of one class, image by image; 0 to 1.

    Each object may be claimed once: of two boxes on one object the surer one is right.
    """
    claims, objects = _Claims(), 0
    for wanted, found in zip(truth, said, strict=True):
        objects += len(wanted[0])
        free = np.ones(len(wanted[0]), bool)
        overlap = overlaps(found[2], wanted[2]) if len(found[0]) and len(wanted[0]) else np.zeros((len(found[0]), 0))
        for index, score in enumerate(found[1].tolist()):
            best = int(overlap[index].argmax()) if overlap.shape[1] else -1
            right = best >= 0 and bool(overlap[index, best] >= SAME) and bool(free[best])
            if right:
                free[best] = False
            claims.scores.append(score)
            claims.right.append(right)
    if not objects or not claims.scores:
        return 0.0
    order = np.argsort(-np.array(claims.scores), kind="stable")
    hits = np.cumsum(np.array(claims.right)[order])
    recall = np.concatenate([[0.0], hits / objects])
    precision = np.concatenate([[1.0], hits / np.arange(1, len(hits) + 1)])
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(sum((b - a) * envelope[index + 1] for index, (a, b) in enumerate(pairwise(recall))))


def _of(objects: Objects, label: int) -> Objects:
    kept = objects[0] == label
    return objects[0][kept], objects[1][kept], objects[2][kept]


def _difference(truth: NDArray[np.float32], said: NDArray[np.float32]) -> float:
    span = float(np.ptp(truth))
    mean = float(np.abs(truth.astype(np.float64) - said).mean())
    return mean / span if span > 0 else mean
