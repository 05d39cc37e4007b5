"""Whose inputs a model takes next, when several want it: fair by weight, and several at once where that pays."""

from __future__ import annotations

import heapq
from collections.abc import Hashable
from dataclasses import dataclass
from itertools import count
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who wants a model's answers."""

    name: str
    priority: int = 1
    """Turns it gets for each turn of a caller with 1, while both wait; at least 1."""


class _Waiting(NamedTuple):
    start: float
    arrival: int
    size: int
    likeness: Hashable
    what: object


class Turns(Generic[T]):
    """Start-time fair queuing (Goyal, Vin and Cheng, SIGCOMM 1996): each ask begins where its caller's last one ends.

    A caller's asks stay in order. Nobody starves: an ask waits, at most, for one ask of each other caller and for what
    their priorities give them while it waits. Who was away saved nothing up.
    """

    def __init__(self, *, most: int) -> None:
        """Put at most `most` inputs into one batch; a single ask may be larger."""
        self._most = most
        self._waiting: list[_Waiting] = []
        self._ends: dict[str, float] = {}
        self._now = 0.0  # virtual: the start of what was taken last
        self._arrivals = count()

    def __len__(self) -> int:
        return len(self._waiting)

    def ask(self, caller: Caller, what: T, *, size: int, likeness: Hashable = ()) -> None:
        """Let `what`, of so many inputs, wait; only asks of one `likeness` share a batch."""
        start = max(self._now, self._ends.get(caller.name, 0.0))
        self._ends[caller.name] = start + size / caller.priority
        heapq.heappush(self._waiting, _Waiting(start, next(self._arrivals), size, likeness, what))

    def take(self) -> list[T]:
        """The next batch out of what waits, in fair order; empty when nothing does. Never holds out for more."""
        if not self._waiting:
            return []
        taken = [heapq.heappop(self._waiting)]
        size = taken[0].size
        while self._waiting and self._fits(self._waiting[0], taken[0], size):
            taken.append(heapq.heappop(self._waiting))
            size += taken[-1].size
        self._now = taken[-1].start
        self._ends = {name: end for name, end in self._ends.items() if end > self._now}  # others say nothing any more
        return [each.what for each in taken]  # type: ignore[misc]  # NamedTuple cannot be generic in 3.11's mypy

    def _fits(self, candidate: _Waiting, first: _Waiting, size: int) -> bool:
        return candidate.likeness == first.likeness and size + candidate.size <= self._most
