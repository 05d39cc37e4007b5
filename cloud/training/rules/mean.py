"""The mean weighted by examples: federated averaging (McMahan et al. 2017, arXiv:1602.05629, algorithm 1).

    mean = v₁ + Σ wₖ · (vₖ − v₁),    wₖ = examplesₖ / Σ examples

with v₁ the first client by name. Differences, products and sums of eight of them are float32; the sums of eight are
added up in float64. Every step is one IEEE operation on each element by itself, in an order fixed by device names:
the same bits on any processor.

What it costs: at most 7 · 2⁻²⁴ of Σ wₖ·|vₖ − v₁|, and the rounding of the result to float32, however many clients
there are: the error is a share of how far clients differ, not of how large their weights are. Where all agree the
mean is what they agree on, bit for bit, as a network's buffers need it.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from cloud.training.rules.sweep import Sink, sweep
from cloud.training.updates import UpdateStore

GROUP = 8
"""Clients whose products are added in float32, as a tree of three levels; a power of two."""

SHORTEST, LONGEST = 1 << 15, 1 << 17
"""Numbers of one client at a time. Two lanes wait for the interpreter at each call, so fewer and longer ones are
quicker until a group leaves the shared cache: eight of the longest are 4 MiB."""

SHARE = 160
"""A stretch is at most this part of a vector: the groups of both lanes together stay at a tenth of the model."""


class Mean(msgspec.Struct, frozen=True, kw_only=True, tag="mean"):
    """Every update counts by its examples, which the gate caps by what the device registered."""


def mean_into(updates: UpdateStore, into: Sink, *, devices: Sequence[str] | None = None, weighted: bool = True) -> None:
    """Hand on the mean of all updates, or of those of `devices`, each counted once unless `weighted` by examples.

    Raises:
        FaultError: the disk is failing.
    """
    chosen = {d: e for d, e in zip(updates.devices, updates.examples, strict=True) if devices is None or d in devices}
    names, counts = list(chosen), list(chosen.values()) if weighted else [1] * len(chosen)
    weights = (np.array(counts, dtype=np.float64) / sum(counts)).astype(np.float32)
    length = max(SHORTEST, min(LONGEST, updates.size // SHARE))

    def work(starts: Sequence[int]) -> None:
        tile = np.empty((GROUP, length), dtype=np.float32)
        first = np.empty((1, length), dtype=np.float32)
        total = np.empty(length, dtype=np.float64)
        for start in starts:
            base = updates.block(first, names[:1], start)[0]
            sums = total[: base.size]
            sums[:] = base
            for group in range(0, len(names), GROUP):
                members = names[group : group + GROUP]
                part = updates.block(tile, members, start)
                np.subtract(part, base, out=part)
                np.multiply(part, weights[group : group + GROUP, None], out=part)
                tile[len(members) :] = 0.0
                np.add(sums, _add_up(tile[:, : base.size]), out=sums)
            base[:] = sums
            into(start, base)

    sweep(updates.size, length, work)


def _add_up(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Add neighbours until one row is left; overwrites them."""
    half = len(rows) // 2
    while half:
        np.add(rows[:half], rows[half : 2 * half], out=rows[:half])
        half //= 2
    row: NDArray[np.float32] = rows[0]
    return row
