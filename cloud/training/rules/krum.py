"""Krum and Multi-Krum: the updates that lie closest to their neighbours (Blanchard et al. 2017, arXiv:1703.02757).

Each update is scored by the sum of its squared distances to the n − f − 2 nearest others; the lowest score wins, of
equal ones the first by device name. Multi-Krum averages the `keep` lowest (section 4). Example counts are ignored:
whoever is kept counts once.

Distances are sums of squared differences, added within a stretch as numpy adds pairwise, and over the stretches in
float64. Flower takes them from norms and products, |x|² + |y|² − 2xy, which is one matrix product and loses the
distance of two long vectors that lie close together. The cost here grows with the square of the clients.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from cloud.training.rules.mean import mean_into
from cloud.training.rules.sweep import Sink, sweep
from cloud.training.updates import UpdateStore


class Krum(msgspec.Struct, frozen=True, kw_only=True, tag="krum"):
    """The update, or the mean of the updates, that most others lie close to."""

    attackers: int = 0
    """How many liars a round withstands, f; it needs at least 2f + 3 updates."""

    keep: int = 1
    """Updates that are averaged: 1 is Krum, more is Multi-Krum."""


def krum(updates: UpdateStore, into: Sink, *, attackers: int, keep: int) -> None:
    """Hand on the mean of the `keep` updates with the lowest scores, each counted once.

    Raises:
        FaultError: the disk is failing.
    """
    mean_into(updates, into, devices=select(updates, attackers=attackers, keep=keep), weighted=False)


def select(updates: UpdateStore, *, attackers: int, keep: int) -> list[str]:
    """The devices whose updates have the lowest scores, best first."""
    distances = squared_distances(updates)
    np.fill_diagonal(distances, np.inf)
    nearest = max(1, len(updates) - attackers - 2)
    scores = np.sort(distances, axis=1)[:, :nearest]
    total = np.zeros(len(updates))
    for column in scores.T:  # one after the other: the same bits on any processor
        total += column
    names = updates.devices
    return [names[index] for index in np.argsort(total, kind="stable")[:keep]]


def squared_distances(updates: UpdateStore) -> NDArray[np.float64]:
    """[clients, clients], in the order of device names.

    Raises:
        FaultError: the disk is failing.
    """
    names, length = updates.devices, updates.block_length()

    def work(starts: Sequence[int]) -> NDArray[np.float64]:
        tile = np.empty((len(names), length), dtype=np.float32)
        apart = np.empty_like(tile)
        sums = np.zeros((len(names), len(names)))
        for start in starts:
            part = updates.block(tile, names, start)
            for row in range(len(names) - 1):
                others = apart[row + 1 :, : part.shape[1]]
                np.subtract(part[row + 1 :], part[row], out=others)
                np.multiply(others, others, out=others)
                sums[row, row + 1 :] += np.add.reduce(others, axis=1)
        return sums

    upper = sum(sweep(updates.size, length, work), start=np.zeros((len(names), len(names))))
    return upper + upper.T
