"""The weighted mean of client updates as exact integer sums: any arrival order gives the same bits.

Floating-point addition depends on its order, so a mean of floats changes with the network's mood. Here each
weight becomes a fixed-point integer, `round(w · 2³²)`, and the sums of `examples · integer` are exact.

What it costs: at most 2⁻³³ ≈ 1.2·10⁻¹⁰ of absolute rounding per weight and client, so at most that much in the
mean, before the result is rounded to float32 (whose own step is larger for every |w| above 0.002). Weights must
lie within ±`LARGEST`, which the gate ensures. Two int64 accumulators per weight: 16 bytes, four times a float32
model, however many clients there are.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from shared.errors import ContractError
from shared.task import Weights

SCALE_BITS = 32
LARGEST = float(1 << 20)
"""Greatest magnitude of a weight: 2²⁰ · 2³² = 2⁵² is still an exact float64 integer."""

_LIMB_BITS = 26
_MASK = (1 << _LIMB_BITS) - 1

MOST_EXAMPLES = 1 << 36
"""The high limb of a weight is below 2²⁶ in magnitude, so the sum stays below 2⁶²."""


class RunningMean:
    """A mean over client updates that holds no update."""

    def __init__(self, model: Mapping[str, NDArray[np.float32]]) -> None:
        self._high = {name: np.zeros(values.shape, dtype=np.int64) for name, values in model.items()}
        self._low = {name: np.zeros(values.shape, dtype=np.int64) for name, values in model.items()}
        self.examples = 0
        self.updates = 0

    def add(self, update: Mapping[str, NDArray[np.float32]], examples: int) -> None:
        """Add an update that passed the gate.

        Raises:
            ContractError: the sums could overflow.
        """
        if examples < 1 or self.examples + examples > MOST_EXAMPLES:
            raise ContractError(f"{self.examples} + {examples} examples do not fit in one mean")
        for name, values in update.items():
            fixed = np.rint(values.astype(np.float64) * (1 << SCALE_BITS)).astype(np.int64)
            # (examples < 2³⁶) · (limb < 2²⁶) < 2⁶², plus a carry: no product or sum below overflows
            low = self._low[name] + (fixed & _MASK) * examples
            self._high[name] += (fixed >> _LIMB_BITS) * examples + (low >> _LIMB_BITS)
            self._low[name] = low & _MASK
        self.examples += examples
        self.updates += 1

    def mean(self) -> Weights:
        """The mean, weighted by examples.

        Raises:
            ContractError: nothing was added.
        """
        if not self.examples:
            raise ContractError("there is no update to average")
        divisor = float(self.examples) * float(1 << SCALE_BITS)
        return {
            name: ((high * float(1 << _LIMB_BITS) + self._low[name]) / divisor).astype(np.float32)
            for name, high in self._high.items()
        }
