"""As many frames a second as wanted."""

from __future__ import annotations

import math


class Pace:
    """Picks at most so many frames a second; on average as many, whatever the camera's own rate."""

    def __init__(self, fps: float | None) -> None:
        """None: every frame."""
        self._step = 1 / fps if fps else None
        self._due = math.nan

    def wants(self, at: float) -> bool:
        """Whether the frame at `at` seconds is due; after a gap nothing is caught up, and a clock may start anew."""
        if self._step is None:
            return True
        if not abs(at - self._due) <= self._step + 1e-6:
            self._due = at
        if at < self._due - 1e-6:
            return False
        self._due += self._step
        return True
