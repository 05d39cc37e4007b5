"""What a poisoned client update is made of: what was asked, and what honest training made of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, MetricRecord, RecordDict
from numpy.typing import NDArray

from shared import federation as fed
from shared.tasks.records import FLAT, read_arrays

Vector = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Poison:
    """One attack: a lie about an honest reply."""

    name: str
    done: str
    seen: bool = True
    """Whether the gate's default terms see it."""

    vector: Callable[[Vector, Vector], NDArray[Any]] = lambda _sent, trained: trained
    """(global weights, honestly trained ones) → what is sent instead."""

    examples: int | None = None
    """What is claimed; None for the truth."""

    def answer(self, sent: RecordDict, honest: RecordDict) -> RecordDict:
        """The content of the poisoned reply to the message that carried `sent`."""
        before, trained = (read_arrays(content[fed.ARRAYS])[FLAT] for content in (sent, honest))
        metrics = honest[fed.METRICS]
        assert isinstance(metrics, MetricRecord)  # noqa: S101  our own client made it
        claimed = dict(metrics) if self.examples is None else {**metrics, fed.EXAMPLES: self.examples}
        arrays = ArrayRecord({FLAT: Array(np.ascontiguousarray(self.vector(before, trained)))})
        return RecordDict({fed.ARRAYS: arrays, fed.METRICS: MetricRecord(claimed)})


def _spoiled(value: float) -> Callable[[Vector, Vector], Vector]:
    def spoil(_sent: Vector, trained: Vector) -> Vector:
        values = trained.copy()
        values[len(values) // 2] = value
        return values

    return spoil


POISONS = (
    Poison(name="nan", done="one weight is not a number", vector=_spoiled(np.nan)),
    Poison(name="inf", done="one weight is infinite", vector=_spoiled(np.inf)),
    Poison(
        name="times-a-million", done="the weights times 10⁶", vector=lambda _sent, trained: trained * np.float32(1e6)
    ),
    Poison(name="sign-flip", done="the weights mirrored", vector=lambda _sent, trained: -trained),
    Poison(name="weight-of-a-billion", done="10⁹ examples claimed", examples=10**9),
    Poison(name="negative-weight", done="−120 examples claimed", examples=-120),
    Poison(name="wrong-shape", done="weights of shape (1,)", vector=lambda _sent, _trained: np.ones(1, np.float32)),
)
"""The seven that every rule must withstand with the gate before it."""

BACKWARDS = Poison(
    name="backwards",
    done="the way of honest training, gone backwards",
    seen=False,
    vector=lambda sent, trained: sent - (trained - sent),
)
"""In form, in length and in numbers an honest update: only a rule can outvote it."""

MIRRORED = POISONS[3]
