"""SCAFFOLD's server side (Karimireddy et al. 2020, arXiv:1910.06378, algorithm 1, option II).

Devices whose data are unlike each other drift apart within a round. Each step is corrected by c − cᵢ: the direction of
all less the device's own. After K steps of rate η from x to y a device sets cᵢ⁺ = cᵢ − c + (x − y) / (K·η), and the
server c⁺ = c + Σ (cᵢ⁺ − cᵢ) / N over the cohort, N being all devices. That difference, −c + (x − y) / (K·η), needs
nothing but y and K, which the server has: so nothing more is uploaded than for averaging, and nothing more can be
lied about.

The sum over (x − y) / K goes through the updates in the order of device names, so arrival order leaves no trace.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from cloud.models.line import LocalRecipe
from cloud.training.updates import UpdateStore

CONTROL = "scaffold.control"
"""Name under which the server's control variate, a flat vector, lies beside the optimiser's state in a checkpoint."""


def steps(local: LocalRecipe, examples: int) -> int:
    """Batches that a device descends in a round: K."""
    return local.epochs * math.ceil(examples / local.batch_size)


def control_after(
    updates: UpdateStore,
    model: NDArray[np.float32],
    before: NDArray[np.float32],
    *,
    local: LocalRecipe,
    population: int,
) -> NDArray[np.float32]:
    """The server's control variate after a round.

    Args:
        updates: of the round, which passed the gate.
        model: the flat global weights that the cohort started from.
        before: the control variate that it was sent.
        local: how each device descended.
        population: N, the devices of the run.
    """
    shares = [1.0 / (steps(local, examples) * local.learning_rate) for examples in updates.examples]
    after = np.empty_like(before)
    for start, values in updates.blocks():
        part = slice(start, start + values.shape[1])
        way = np.zeros(values.shape[1])
        for share, update in zip(shares, values, strict=True):
            way += share * (model[part].astype(np.float64) - update)
        after[part] = before[part] + (way - len(updates) * before[part].astype(np.float64)) / population
    return after


def control_in(state: Mapping[str, NDArray[np.float32]], size: int) -> NDArray[np.float32]:
    """The control variate of a checkpoint, of zeros before the first round."""
    return state.get(CONTROL, np.zeros(size, dtype=np.float32))
