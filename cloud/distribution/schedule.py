"""Which chunk to publish next: pure bookkeeping of what was asked for and when it last went out."""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from shared.ids import Digest


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """Chunk `index` of the blob `digest`."""

    digest: Digest
    index: int


class Schedule:
    """First asked, first sent; each chunk at most once in `quiet_s`, whoever asks how often.

    A wave of devices asks within moments of each other. The first request waits `gather_s` for company; one that
    comes after its chunk went out is put off until `quiet_s` later, so that all stragglers share the second copy.
    The coordinator's egress is therefore bounded by time, not by the number of devices.
    """

    def __init__(self, *, gather_s: float, quiet_s: float, most: int) -> None:
        self._gather_s = gather_s
        self._quiet_s = quiet_s
        self._most = most
        self._due: list[tuple[float, int, Key]] = []
        self._waiting: set[Key] = set()
        self._sent: OrderedDict[Key, float] = OrderedDict()
        self._asked = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def ask(self, keys: Iterable[Key], *, at: float) -> int:
        """Note a request at `at` (monotonic seconds); return how many of its chunks found no room."""
        turned_away = 0
        for key in keys:
            if key in self._waiting:
                continue
            if len(self._waiting) >= self._most:
                turned_away += 1
                continue
            self._asked += 1
            self._waiting.add(key)
            quiet_until = self._sent[key] + self._quiet_s if key in self._sent else at
            heapq.heappush(self._due, (max(at + self._gather_s, quiet_until), self._asked, key))
        return turned_away

    def take(self, *, at: float) -> Key | None:
        """The next chunk that is due at `at`, now considered sent; None when none is."""
        if not self._due or self._due[0][0] > at:
            return None
        _, _, key = heapq.heappop(self._due)
        self._waiting.remove(key)
        self._sent[key] = at
        self._sent.move_to_end(key)
        self._forget(at)
        return key

    def wait_s(self, *, at: float) -> float | None:
        """Seconds from `at` until something is due; None when nothing is asked for."""
        return max(0.0, self._due[0][0] - at) if self._due else None

    def _forget(self, at: float) -> None:
        while next(iter(self._sent.values())) + self._quiet_s <= at:
            self._sent.popitem(last=False)
