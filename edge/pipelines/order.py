"""Several turns of one pipeline under way: while the model has one, the answers of the one before are read.

What must be in order is: the model takes turns as they came, and what follows an answer waits for the turn before.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

DEPTH = 2
"""Turns under way: one with the model, one before or after it. A third would only wait, and be old when it is read."""


class _Mark:
    """What a turn tells the one after it."""

    __slots__ = ("answered", "done")

    def __init__(self) -> None:
        self.done = threading.Event()
        self.answered = 0.0


class Place:
    """One turn's place in the order; each comes after one other."""

    def __init__(self, before: Place | None, *, began: float) -> None:
        self._mark = _Mark()
        self._before = before._mark if before else None  # not the place itself: they would keep each other for ever
        self.began = began
        """Monotonic seconds."""

    def took(self, since: float, until: float) -> float:
        """Seconds of the model's own time for this turn, answered at `until`: it had the turn before it, first."""
        self._mark.answered = until
        free = self._before.answered if self._before else 0.0
        return until - max(since, min(free, until))

    def wait(self) -> None:
        """Wait, in a thread, until the turn before is done."""
        if self._before is not None:
            self._before.done.wait()

    def leave(self) -> None:
        """This turn is done, or will never be worked on; may be called again."""
        self._mark.done.set()


class Order:
    """The places of one pipeline, in the order in which they were taken. Belongs to the event loop."""

    def __init__(self) -> None:
        self._last: Place | None = None
        self._held: list[Place] = []

    @property
    def since(self) -> float | None:
        """Monotonic seconds since when the oldest turn is under way; None with none."""
        return self._held[0].began if self._held else None

    @contextmanager
    def place(self, *, at: float) -> Iterator[Place]:
        """Take the next place, for a turn that begins now."""
        place = Place(self._last, began=at)
        self._last = place
        self._held.append(place)
        try:
            yield place
        finally:
            place.leave()
            self._held.remove(place)
