"""The gate that every client update passes before it may touch the sum.

One NaN poisons federated averaging, a shape of (1,) broadcasts into every weight, an example count of 10⁹ or −1
rules the mean. A model times a million, or mirrored, has the right form and finite numbers, and drags the mean along
all the same. An update either has exactly the form of the global model, plausible numbers, and lies where training
could have brought it, or it is refused. One that went farther than its round allows is scaled back.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np
from flwr.app import MetricRecord, RecordDict
from numpy.typing import NDArray

from cloud.training.events import DeviceScore
from cloud.training.gate_terms import GateTerms
from cloud.training.updates import LARGEST
from shared import federation as fed
from shared.errors import RefusedError

MOST_HELD_OUT = 1 << 24
"""Examples of one device's hold-out; one device cannot outvote a fleet by claiming more than any disk holds."""

SHORTEST = 1.0
"""Length (L2) at which a global model counts that is shorter: one of zeros must be able to begin."""

BLOCK = 1 << 14
"""Values looked at together: they and their difference from the model stay in the processor's first caches."""


class Check(StrEnum):
    """What the gate looks at; names the rule in a strike."""

    FORM = "form"
    FINITE = "finite"
    DISTANCE = "distance"
    EXAMPLES = "examples"
    LOSS = "loss"
    SCORE = "score"


class GateError(RefusedError):
    """Something that a device sent did not pass; unlike no answer at all, this is a strike."""

    def __init__(self, check: Check, message: str, *, measured: str = "") -> None:
        super().__init__(message[:300])
        self.check = check
        self.measured = measured[:80]


class Admitted(NamedTuple):
    """An update that may be aggregated."""

    update: Mapping[str, NDArray[np.float32]]
    """As it came, or scaled back."""

    examples: int
    way: float
    """How far it went from the global model (L2), before it was scaled back."""

    clipped: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """The gate of one round; see `Gate.around`."""

    model: Mapping[str, NDArray[np.float32]]
    length: float
    """Of the model (L2), at least `SHORTEST`."""

    terms: GateTerms
    bound: float | None
    """Longest way that counts whole."""

    @classmethod
    def around(
        cls, model: Mapping[str, NDArray[np.float32]], terms: GateTerms | None = None, *, bound: float | None = None
    ) -> Gate:
        """The gate around the global weights that a round's clients start from."""
        length = math.sqrt(math.fsum(_squares(values) for values in model.values()))
        return cls(model=model, length=max(length, SHORTEST), terms=terms or GateTerms(), bound=bound)

    def admit(self, update: Mapping[str, NDArray[Any]], examples: object, *, registered: int) -> Admitted:
        """Let an update in, scaled back if it went too far.

        Args:
            update: the tensors as they came.
            examples: the example count as it came.
            registered: examples that the device said it trains on before the first round.

        Raises:
            GateError: (1) other tensors than the model's, (2) another shape or type, (3) a value that is not
                finite or beyond `LARGEST`, (4) farther from the model than the terms allow, (5) an example count
                outside 1 to `registered`.
        """
        if list(update) != list(self.model):  # (1)
            odd = sorted(set(update) ^ set(self.model)) or ["their order"]
            names = ", ".join(name[:80] for name in odd[:5])
            raise GateError(Check.FORM, f"tensors differ from the model's: {names}", measured=f"{len(update)} tensors")
        for name, expected in self.model.items():
            _check_form(name, update[name], expected.shape)
        way = math.sqrt(math.fsum(_squares(update[name], model, name=name) for name, model in self.model.items()))
        self._check_distance(way)
        count = check_examples(examples, registered)
        if self.bound is None or way <= self.bound:
            return Admitted(update, count, way, clipped=False)
        return Admitted(self._pulled(update, self.bound / way), count, way, clipped=True)

    def _check_distance(self, way: float) -> None:
        share, most = way / self.length, self.terms.farthest
        if most is not None and share > most:  # (4)
            raise GateError(
                Check.DISTANCE,
                f"lies {share:.3g} times the model's length away from it, at most {most} is taken",
                measured=f"{share:.3g}",
            )

    def _pulled(self, update: Mapping[str, NDArray[np.float32]], share: float) -> dict[str, NDArray[np.float32]]:
        """The update at `share` of its way."""
        pulled = {}
        for name, model in self.model.items():
            values = update[name] - model
            values *= np.float32(share)
            values += model
            pulled[name] = values
        return pulled


def check_loss(loss: object) -> float:
    """Return a training loss that may enter the metrics.

    Raises:
        GateError: it is no finite number.
    """
    if not isinstance(loss, float) or not math.isfinite(loss):
        raise GateError(Check.LOSS, f"reports a loss of {loss!r}", measured=repr(loss))
    return loss


def metrics_of(content: RecordDict) -> MetricRecord:
    """Return a reply's metrics.

    Raises:
        GateError: there are none.
    """
    metrics = content.get(fed.METRICS)
    if not isinstance(metrics, MetricRecord):
        raise GateError(Check.FORM, "the reply holds no metrics")
    return metrics


def read_score(content: RecordDict) -> DeviceScore:
    """Return the hold-out score that a device reports, if its counts can be.

    Raises:
        GateError: they cannot.
    """
    metrics = metrics_of(content)
    examples, correct = metrics.get(fed.EXAMPLES), metrics.get(fed.CORRECT)
    if not isinstance(examples, int) or not isinstance(correct, int) or not 0 <= correct <= examples <= MOST_HELD_OUT:
        raise GateError(Check.SCORE, f"reports {correct!r} right of {examples!r}", measured=f"{correct!r}/{examples!r}")
    return DeviceScore(examples=examples, correct=correct, loss_sum=check_loss(metrics.get(fed.LOSS_SUM)))


def _check_form(name: str, values: NDArray[Any], shape: tuple[int, ...]) -> None:
    if values.shape != shape or values.dtype != np.float32:  # (2)
        came = f"{values.dtype}{list(values.shape)}"
        raise GateError(Check.FORM, f"{name} is {came}, the model has float32{list(shape)}", measured=came)


def _squares(values: NDArray[np.float32], model: NDArray[np.float32] | None = None, *, name: str = "") -> float:
    """Sum of the squares of `values`, or of their difference from `model`; one pass, block by block.

    Raises:
        GateError: a value is not finite or beyond `LARGEST`.
    """
    flat = values.reshape(-1)
    origin = None if model is None else model.reshape(-1)
    room = np.empty(min(BLOCK, flat.size), dtype=np.float64)
    total = 0.0
    for start in range(0, flat.size, BLOCK):
        part = flat[start : start + BLOCK]
        if not (float(part.max()) <= LARGEST and float(part.min()) >= -LARGEST):  # (3), a NaN fails both
            _refuse_values(name, part)
        way = room[: part.size]
        if origin is None:
            way[...] = part
        else:
            np.subtract(part, origin[start : start + BLOCK], out=way)  # rounded once, to float32
        total += float(np.dot(way, way))
    return total


def _refuse_values(name: str, part: NDArray[np.float32]) -> None:
    if not np.isfinite(part).all():
        raise GateError(Check.FINITE, f"{name} holds a value that is not finite", measured="not finite")
    most = float(np.abs(part).max())
    raise GateError(Check.FINITE, f"{name} holds a value beyond {LARGEST:g}", measured=f"{most:.3g}")


def check_examples(examples: object, registered: int) -> int:
    """Return an example count that may weigh an update.

    Raises:
        GateError: it is none, or more than the device registered.
    """
    if not isinstance(examples, int) or isinstance(examples, bool) or not 1 <= examples <= registered:  # (5)
        raise GateError(
            Check.EXAMPLES,
            f"claims {examples!r} examples, the device registered {registered}",
            measured=repr(examples),
        )
    return examples
