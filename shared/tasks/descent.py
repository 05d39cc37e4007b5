"""How a network descends, whether one client's or many at once: the two must make the same steps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MOMENTUM = 0.9
WEIGHT_DECAY = 1e-4
CLIP = 5.0
"""Largest L2 norm of one step's gradient: a mislabelled window does not throw a small model off."""


def batches(order: np.random.Generator, examples: int, size: int) -> list[NDArray[np.int64]]:
    """The order in which an epoch goes through so many examples, in batches of `size` and a smaller last one."""
    shuffled = order.permutation(examples)
    return [shuffled[start : start + size] for start in range(0, examples, size)]
