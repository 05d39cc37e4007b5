"""One comparison: ours and a peer, measured on the same machine in the same run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import msgspec


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """What `bench.json` holds per benchmark."""

    name: str
    ours: float
    peer: float
    unit: str
    better: str
    """`lower` or `higher`."""

    what_ours: str
    what_peer: str
    ratio: float = 0.0
    """`ours / peer`; what a machine's speed does not change."""


def compare(**fields: object) -> Figure:
    """A figure with its ratio."""
    figure = msgspec.convert(fields, Figure)
    return msgspec.structs.replace(figure, ratio=round(figure.ours / figure.peer, 3))


def in_turns(ours: Callable[[], object], peer: Callable[[], object], *, turns: int) -> tuple[float, float]:
    """Median seconds of each, run alternately so that a busy moment of the machine meets both; one turn warms up."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for turn in range(turns + 1):
        for work, kept in zip((ours, peer), seconds, strict=True):
            started = time.perf_counter()
            work()
            if turn:
                kept.append(time.perf_counter() - started)
    return statistics.median(seconds[0]), statistics.median(seconds[1])
