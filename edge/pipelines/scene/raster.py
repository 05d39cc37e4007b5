"""From polygons in shares of the picture to the pixels they touch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from shared.masks import Point

Pixels = NDArray[np.bool_]
"""[height, width]."""


def touched(corners: Sequence[Point], *, width: int, height: int) -> Pixels:
    """Every pixel that a polygon touches, and at most one or two beyond it: who hides errs outward.

    A pixel counts if its centre lies inside by the winding rule, or an edge passes through it; then one more around.
    """
    points = np.asarray(corners, np.float64) * (width, height)
    pixels = _wound(points, width, height)
    for (x1, y1), (x2, y2) in zip(points, np.roll(points, -1, axis=0), strict=True):
        steps = int(2 * max(abs(x2 - x1), abs(y2 - y1))) + 2
        xs, ys = np.linspace(x1, x2, steps), np.linspace(y1, y2, steps)
        pixels[np.minimum(ys.astype(int), height - 1), np.minimum(xs.astype(int), width - 1)] = True
    return _grown(pixels)


def coarse(pixels: Pixels, *, across: int, down: int) -> Pixels:
    """Samples of a plane with fewer of them, `across` and `down` pixels for each, that any of `pixels` shares."""
    height, width = pixels.shape
    padded = np.zeros((-height % down + height, -width % across + width), np.bool_)
    padded[:height, :width] = pixels
    cells = padded.reshape(padded.shape[0] // down, down, padded.shape[1] // across, across)
    return np.asarray(cells.any(axis=(1, 3)))


def slabs(pixels: Pixels) -> Iterator[tuple[slice, slice]]:
    """Rectangles that cover exactly `pixels`: runs of each row, put together where rows are alike."""
    open_runs: tuple[tuple[int, int], ...] = ()
    began = 0
    for row, line in enumerate([*pixels, np.zeros(pixels.shape[1], np.bool_)]):
        edges = np.flatnonzero(np.diff(line, prepend=False, append=False))
        runs = tuple(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
        if runs != open_runs:
            yield from ((slice(began, row), slice(*run)) for run in open_runs)
            open_runs, began = runs, row


def _wound(points: NDArray[np.float64], width: int, height: int) -> Pixels:
    """Pixels around whose centre the polygon winds."""
    turns = np.zeros((height, width + 1), np.int32)
    for (x1, y1), (x2, y2) in zip(points, np.roll(points, -1, axis=0), strict=True):
        if y1 == y2:
            continue
        first, last = np.ceil(min(y1, y2) - 0.5), np.ceil(max(y1, y2) - 0.5)
        rows = np.arange(int(first), min(int(last), height))
        crossing = x1 + (rows + 0.5 - y1) * (x2 - x1) / (y2 - y1)
        columns = np.clip(np.ceil(crossing - 0.5), 0, width).astype(int)
        turns[rows, columns] += 1 if y2 > y1 else -1
    return np.asarray(np.cumsum(turns, axis=1)[:, :width] != 0)


def _grown(pixels: Pixels) -> Pixels:
    wide = pixels.copy()
    wide[:, 1:] |= pixels[:, :-1]
    wide[:, :-1] |= pixels[:, 1:]
    high = wide.copy()
    high[1:] |= wide[:-1]
    high[:-1] |= wide[1:]
    return high
