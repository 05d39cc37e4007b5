"""Seats for requests: so many at once, and none may take them all."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager


class FullError(Exception):
    """No seat; `own` where it is the caller who has too many."""

    def __init__(self, text: str, *, own: bool) -> None:
        super().__init__(text)
        self.own = own


class Gate:
    """Counts who is inside; any thread may ask."""

    def __init__(self, *, most: int) -> None:
        self._most = most
        self._each = max(1, most - most // 4)  # a quarter is left to others
        self._inside: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._open = True
        self.refused = 0
        """Requests sent away."""

    @property
    def inside(self) -> int:
        """Requests at work now."""
        return self._inside.total()

    def close(self) -> None:
        """Let nobody in any more."""
        self._open = False

    @contextmanager
    def seat(self, who: str) -> Iterator[None]:
        """Hold a seat.

        Args:
            who: name of the token that the caller showed; empty for none.

        Raises:
            FullError: there is none.
        """
        with self._lock:
            problem = self._problem(who)
            if problem is not None:
                self.refused += 1
                raise problem
            self._inside[who] += 1
        try:
            yield
        finally:
            with self._lock:
                self._inside[who] -= 1
                self._inside += Counter()  # forgets those who have left

    def _problem(self, who: str) -> FullError | None:
        if not self._open:
            return FullError("this device is stopping", own=False)
        if self._inside.total() >= self._most:
            return FullError(f"{self._most} requests are at work already", own=False)
        if who and self._inside[who] >= self._each:
            return FullError(f"{who!r} has {self._each} requests at work already", own=True)
        return None
