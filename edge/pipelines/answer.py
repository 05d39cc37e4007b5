"""What a model said about one input, whatever kind of model it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edge.inference.runtime import Array
from shared.bundle import Schema


@dataclass(frozen=True, slots=True)
class Detection:
    """One object found in an image."""

    label: str
    score: float
    box: tuple[float, float, float, float]
    """y1, x1, y2, x2 as shares of the image's height and width, 0 to 1."""

    track: int = 0
    """Number of the object that it is followed as; 0 for none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The answer to one input."""

    labels: tuple[str, ...]
    """Classes predicted: one for a classifier, one per object for a detector, perhaps none."""

    confidence: float
    """Probability of the first label, 0 to 1; 0 without labels."""

    index: int = -1
    """Class index of a classifier's prediction; −1 from a detector."""

    detections: tuple[Detection, ...] = ()
    value: float | None = None
    """A number: how anomalous an input is, or what a regression says, in `unit`."""

    interval: tuple[float, float] | None = None
    """In which the value lies, where the model says so."""

    unit: str = ""
    tolerance: float = 0.0
    """Values that differ by no more say the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """An answer and where it came from."""

    id: str
    release: str
    at: float
    answer: Answer


Interpret = Callable[[list[Array], Schema, Array], list[Answer | None]]
"""Reads a batch's outputs, with the inputs as the model got them; None for an input whose outputs are not finite."""
