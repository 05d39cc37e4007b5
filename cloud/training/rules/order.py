"""Rules that order each coordinate's values over the clients (Yin et al. 2018, arXiv:1803.01498, section 4).

They ignore how many examples a client claims: a liar counts once. What they withstand is a minority: the trimmed
mean up to its share of the updates, the median up to half of them. What they cost: on clients whose data differ they
leave honest extremes out as well.

Sorting moves values and changes none; the kept ones are added in float64 from the least to the greatest, so the
result is the exact mean of the kept values but for one rounding to float32 (and less than 2⁻⁴⁴ of it before).
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from cloud.training.rules.sweep import Sink, sweep
from cloud.training.updates import UpdateStore


class TrimmedMean(msgspec.Struct, frozen=True, kw_only=True, tag="trimmed-mean"):
    """The mean of each coordinate without its extremes."""

    share: float = 0.2
    """Share of the updates that is cut at each end, 0 to below 0.5, rounded down to whole updates."""


class Median(msgspec.Struct, frozen=True, kw_only=True, tag="median"):
    """The median of each coordinate; of an even number of updates, the mean of the middle two."""


def trimmed_mean(updates: UpdateStore, into: Sink, *, share: float) -> None:
    """Hand on the mean of each coordinate without `⌊share · clients⌋` values at either end.

    Raises:
        FaultError: the disk is failing.
    """
    _middle(updates, into, int(share * len(updates)))


def median(updates: UpdateStore, into: Sink) -> None:
    """Hand on the median of each coordinate.

    Raises:
        FaultError: the disk is failing.
    """
    _middle(updates, into, (len(updates) - 1) // 2)


def _middle(updates: UpdateStore, into: Sink, cut: int) -> None:
    names, length = updates.devices, updates.block_length()
    kept = len(names) - 2 * cut

    def work(starts: Sequence[int]) -> None:
        tile = np.empty((len(names), length), dtype=np.float32)
        total = np.empty(length, dtype=np.float64)
        for start in starts:
            part = updates.block(tile, names, start)
            part.sort(axis=0)
            sums = total[: part.shape[1]]
            sums[:] = 0.0  # and so no zero comes out negative: processors sort 0 and −0 in orders of their own
            for row in part[cut : cut + kept]:
                np.add(sums, row, out=sums)
            part[0] = np.divide(sums, kept, out=sums)
            into(start, part[0])

    sweep(updates.size, length, work)
