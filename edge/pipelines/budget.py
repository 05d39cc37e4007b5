"""How much of one core's time a challenger may take."""

from __future__ import annotations

BURST_S = 2.0
"""Seconds of work that may be saved up: a challenger that was spared for a while is not shown a burst."""


class Budget:
    """A bucket that fills at the challenger's share; a batch that costs more than it holds is paid off first."""

    def __init__(self, *, cores: int = 1) -> None:
        """Take the threads that a batch keeps busy while it is answered."""
        self._cores = cores
        self._credit = BURST_S  # cut to the share at the first look
        self._at = 0.0

    def allows(self, share: float, *, at: float) -> bool:
        """Whether another batch may be shown now.

        Args:
            share: most of one core's time, 0 to 1.
            at: monotonic seconds.
        """
        most = max(0.0, min(share, 1.0)) * BURST_S
        self._credit = min(most, self._credit + share * max(0.0, at - self._at))
        self._at = at
        return self._credit > 0

    def spend(self, seconds: float) -> None:
        """A batch took so long: the most that its threads can have worked."""
        self._credit -= seconds * self._cores
