"""How long to wait before the next try."""

from __future__ import annotations

from random import Random


class Backoff:
    """Exponential back-off with full jitter, so that thousands that failed together do not come back together.

    See M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """

    def __init__(self, *, first_s: float, most_s: float, random: Random) -> None:
        self._first_s = first_s
        self._most_s = most_s
        self._random = random
        self._failures = 0

    def next(self) -> float:
        """Seconds to wait now; the ceiling doubles with each call up to `most_s`."""
        ceiling = min(self._most_s, self._first_s * 2.0 ** min(self._failures, 32))
        self._failures += 1
        return self._random.uniform(ceiling / 10, ceiling)

    def reset(self) -> None:
        """Start over after a success."""
        self._failures = 0
