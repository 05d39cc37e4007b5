"""The gate that every client update passes before it may touch the sum.

One NaN poisons federated averaging, a shape of (1,) broadcasts into every weight, an example count of 10⁹ or −1
rules the mean. A model times a million, or mirrored, has the right form and finite numbers, and drags the mean along
all the same. An update either has exactly the form of the global model, plausible numbers, and lies where training
could have brought it, or it is refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from flwr.app import MetricRecord, RecordDict
from numpy.typing import NDArray

from cloud.training.aggregate import LARGEST
from cloud.training.events import DeviceScore
from shared import federation as fed
from shared.errors import RefusedError

MOST_HELD_OUT = 1 << 24
"""Examples of one device's hold-out; one device cannot outvote a fleet by claiming more than any disk holds."""

FARTHEST = 1.9
"""How far an update may lie from the global model (L2), as a share of that model's own length; its mirror image lies
at 2. Devices of the two model families went 0.55 in their first round by their lines' recipes, and 1.8 when they
trained on 300 examples for ten epochs instead of one."""

SHORTEST = 1.0
"""Length (L2) at which a global model counts that is shorter: one of zeros must be able to begin."""

_STRETCH = 1 << 16


def check_update(
    update: Mapping[str, NDArray[Any]], examples: object, *, model: Mapping[str, NDArray[np.float32]], registered: int
) -> int:
    """Return the example count of an update that may be aggregated.

    Args:
        update: the tensors as they came.
        examples: the example count as it came.
        model: the global weights that the client started from.
        registered: examples that the device said it trains on before the first round.

    Raises:
        RefusedError: (1) other tensors than the model's, (2) another shape or type, (3) a value that is not
            finite or beyond `LARGEST`, (4) farther from the model than `FARTHEST`, (5) an example count outside 1 to
            `registered`.
    """
    if list(update) != list(model):  # (1)
        odd = sorted(set(update) ^ set(model)) or ["their order"]
        raise RefusedError(f"tensors differ from the model's: {', '.join(name[:80] for name in odd[:5])}")
    for name, expected in model.items():
        _check_tensor(name, update[name], expected.shape)
    _check_distance(update, model)
    return _check_examples(examples, registered)


def check_loss(loss: object) -> float:
    """Return a training loss that may enter the metrics.

    Raises:
        RefusedError: it is no finite number.
    """
    if not isinstance(loss, float) or not math.isfinite(loss):
        raise RefusedError(f"reports a loss of {loss!r}"[:200])
    return loss


def metrics_of(content: RecordDict) -> MetricRecord:
    """Return a reply's metrics.

    Raises:
        RefusedError: there are none.
    """
    metrics = content.get(fed.METRICS)
    if not isinstance(metrics, MetricRecord):
        raise RefusedError("the reply holds no metrics")
    return metrics


def read_score(content: RecordDict) -> DeviceScore:
    """Return the hold-out score that a device reports, if its counts can be.

    Raises:
        RefusedError: they cannot.
    """
    metrics = metrics_of(content)
    examples, correct = metrics.get(fed.EXAMPLES), metrics.get(fed.CORRECT)
    if not isinstance(examples, int) or not isinstance(correct, int) or not 0 <= correct <= examples <= MOST_HELD_OUT:
        raise RefusedError(f"reports {correct!r} right of {examples!r}"[:200])
    return DeviceScore(examples=examples, correct=correct, loss_sum=check_loss(metrics.get(fed.LOSS_SUM)))


def _check_tensor(name: str, values: NDArray[Any], shape: tuple[int, ...]) -> None:
    if values.shape != shape or values.dtype != np.float32:  # (2)
        raise RefusedError(f"{name} is {values.dtype}{list(values.shape)}, the model has float32{list(shape)}")
    least, most = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)  # NaN if one is
    if not math.isfinite(least) or not math.isfinite(most):  # (3)
        raise RefusedError(f"{name} holds a value that is not finite")
    if max(-least, most) > LARGEST:
        raise RefusedError(f"{name} holds a value beyond {LARGEST:g}")


def _check_distance(update: Mapping[str, NDArray[Any]], model: Mapping[str, NDArray[np.float32]]) -> None:
    length = max(math.hypot(*(_length(values) for values in model.values())), SHORTEST)
    way = math.hypot(*(_length(update[name], values) for name, values in model.items()))
    if way > FARTHEST * length:  # (4)
        raise RefusedError(
            f"lies {way / length:.3g} times the model's length away from it, at most {FARTHEST} is taken"
        )


def _length(values: NDArray[np.float32], origin: NDArray[np.float32] | None = None) -> float:
    """Of the way from `origin`, or from zero; a stretch at a time, so that no copy of the model is made."""
    total = 0.0
    for start in range(0, values.size, _STRETCH):
        way = values.ravel()[start : start + _STRETCH].astype(np.float64)
        if origin is not None:
            way -= origin.ravel()[start : start + _STRETCH]
        total += float(np.dot(way, way))
    return math.sqrt(total)


def _check_examples(examples: object, registered: int) -> int:
    if not isinstance(examples, int) or isinstance(examples, bool) or not 1 <= examples <= registered:  # (5)
        raise RefusedError(f"claims {examples!r} examples, the device registered {registered}"[:200])
    return examples
