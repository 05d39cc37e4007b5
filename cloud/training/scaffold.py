"""SCAFFOLD's server side (Karimireddy et al. 2020, arXiv:1910.06378, algorithm 1, option II).

Devices whose data are unlike each other drift apart within a round. Each step is corrected by c − cᵢ: the direction of
all less the device's own. After K steps of rate η from x to y a device sets cᵢ⁺ = cᵢ − c + (x − y) / (K·η), and the
server c⁺ = c + Σ (cᵢ⁺ − cᵢ) / N over the cohort, N being all devices. That difference, −c + (x − y) / (K·η), needs
nothing but y and K, which the server has: so nothing more is uploaded than for averaging, and nothing more can be
lied about.

The sum over y / K is exact (`RunningMean` with weight 2²⁰ / K, rounded), so arrival order leaves no trace.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from cloud.models.line import LocalRecipe
from cloud.training.aggregate import RunningMean

CONTROL = "scaffold.control"
"""Name under which the server's control variate, a flat vector, lies beside the server momentum in a checkpoint."""

UNIT = 1 << 20
"""Weight of one step's share; K up to a thousand steps is off by less than 0.05 %."""

Flat = Mapping[str, NDArray[np.float32]]


def steps(local: LocalRecipe, examples: int) -> int:
    """Batches that a device descends in a round: K."""
    return local.epochs * math.ceil(examples / local.batch_size)


class ControlSum:
    """What a round's updates say about the control variate; holds none of them."""

    def __init__(self, model: Flat) -> None:
        """Begin a round from the flat global weights."""
        self._model = model
        self._mean = RunningMean(model)

    def add(self, update: Flat, examples: int, local: LocalRecipe) -> None:
        """Take in an update that passed the gate."""
        self._mean.add(update, max(round(UNIT / steps(local, examples)), 1))

    def control(self, before: NDArray[np.float32], *, rate: float, population: int) -> NDArray[np.float32]:
        """The control variate after the round.

        Args:
            before: the one that the cohort was sent.
            rate: η, the local learning rate.
            population: N, the devices of the run.
        """
        mean = self._mean.mean()
        name = next(iter(self._model))
        share = self._mean.examples / UNIT  # Σ 1/K
        way = (self._model[name].astype(np.float64) - mean[name]) * (share / rate)
        return (before + (way - self._mean.updates * before.astype(np.float64)) / population).astype(np.float32)


def control_in(velocity: Mapping[str, NDArray[np.float32]], size: int) -> NDArray[np.float32]:
    """The control variate of a checkpoint, of zeros before the first round."""
    return velocity.get(CONTROL, np.zeros(size, dtype=np.float32))
