"""Notices that each frame shows exactly what the one before showed."""

from __future__ import annotations

import zlib

from edge.pipelines.sources.film import Frame, luma
from edge.pipelines.sources.port import Drop
from shared.clock import Clock

STEP = 8
"""Every so many lines are compared: a sensor's noise, or a clock in the picture, changes some of any eight."""


class FrozenGate:
    """Drops frames once the same picture has come for `frozen_s` seconds, until another one comes.

    The same means: each value of the brightness in every eighth line. A quiet scene is not frozen, for its noise.
    """

    def __init__(self, *, frozen_s: float, gap_s: float, clock: Clock) -> None:
        """A gap of `gap_s` seconds between two frames, in which nothing came to be compared, does not count."""
        self._frozen_s = frozen_s
        self._gap_s = gap_s
        self._clock = clock
        self._digest: int | None = None
        self._changed = self._seen = clock.monotonic()

    @property
    def since(self) -> float | None:
        """Monotonic seconds since which the picture is the same, if for too long."""
        return self._changed if self._seen - self._changed >= self._frozen_s else None

    def __call__(self, frame: Frame, at: float) -> Drop | None:
        now = self._clock.monotonic()
        digest = zlib.crc32(luma(frame)[::STEP].tobytes())
        gap = now - self._seen > self._gap_s and self.since is None
        if digest != self._digest or gap:
            self._digest, self._changed = digest, now
        self._seen = now
        return Drop.FROZEN if self.since is not None else None
