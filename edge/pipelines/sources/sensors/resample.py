"""A channel's samples on the points of a grid, and which of these points lie in a gap."""

from __future__ import annotations

from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

EPSILON = 1e-6
"""Seconds that are none: Unix seconds in float64 are 2.4e-7 apart."""


class Resample(StrEnum):
    """What stands on a point of the grid."""

    LINEAR = "linear"
    """The line between its neighbours."""

    PREVIOUS = "previous"
    """The newest sample by then: for what is reported only when it changes."""

    MEAN = "mean"
    """The mean of the samples nearest to it, and the line where there is none: for sensors faster than the model."""


def resample(times: Floats, values: Floats, edges: Floats, way: Resample) -> Floats:
    """Values at the middle of each pair of `edges` [n + 1]: [n].

    Args:
        times: of the samples, rising; the first is no later than the first point, the last no earlier than the last.
        values: of the samples.
        edges: half a step before the first point, half a step after each.
        way: which value it is.
    """
    points = (edges[:-1] + edges[1:]) / 2
    if way is Resample.PREVIOUS:
        return values[np.maximum(np.searchsorted(times, points + EPSILON, "right") - 1, 0)]
    line = np.interp(points, times, values)
    if way is Resample.LINEAR:
        return line
    cuts = np.searchsorted(times, edges, "right")
    counts = np.diff(cuts)
    sums = np.diff(np.concatenate(([0.0], np.cumsum(values)))[cuts])
    return np.where(counts > 0, sums / np.maximum(counts, 1), line)


def bridged(times: Floats, points: Floats) -> Floats:
    """How far apart the samples around each point are, in seconds; 0 where a sample stands on it: [n]."""
    after = np.minimum(np.searchsorted(times, points - EPSILON, "left"), len(times) - 1)
    before = np.maximum(after - 1, 0)
    apart = times[after] - times[before]
    return np.where(np.abs(times[after] - points) <= EPSILON, 0.0, apart)
