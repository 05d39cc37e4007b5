"""Two threads over the stretches of a vector."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")

Sink = Callable[[int, NDArray[np.float32]], None]
"""Takes what a rule made of a stretch, and the index where it begins: each stretch once, in any order, from several
threads. The numbers are overwritten afterwards."""

LANES = 2
"""Threads that a rule works with, on any machine: numpy and the kernel let go of the interpreter lock while they
compute and copy, and two of them fill the memory's bandwidth. A sum over lanes has the same parts everywhere."""


def sweep(size: int, length: int, work: Callable[[Sequence[int]], T]) -> list[T]:
    """Give each lane every `LANES`-th start of a stretch; return what they made of it, in the order of the lanes."""
    starts = range(0, size, length)
    if len(starts) < LANES:
        return [work(starts)]
    with ThreadPoolExecutor(LANES, thread_name_prefix="sweep") as pool:
        return list(pool.map(work, [starts[lane::LANES] for lane in range(LANES)]))
