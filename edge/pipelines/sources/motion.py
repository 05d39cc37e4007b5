"""Leaves out frames in which nothing moves."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.pipelines.sources.film import Frame
from edge.pipelines.sources.port import Drop

WIDTH, HEIGHT = 80, 48
"""Of the small picture that is compared; someone a fifth as tall as it covers thirty of its cells."""

GAP_S = 60.0
"""Seconds without a frame after which the background is learnt anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MotionSettings:
    """What counts as motion."""

    share: float = 0.003
    """Of the picture that must have changed for motion to begin, 0 to 1; it ends under a half of that."""

    level: float = 12.0
    """Steps of brightness, of 255, by which a cell must differ from the background."""

    hold_s: float = 2.0
    """Seconds for which frames go on passing after the last motion."""

    every_s: float = 10.0
    """A frame passes at least so often, whatever it shows."""

    adapt_s: float = 10.0
    """Seconds in which the background takes on two thirds of a change; six times as long while something moves."""


class MotionGate:
    """Compares a small grey picture with a background that adapts.

    What changes everywhere alike, as when a cloud passes or a camera sets its exposure, is no motion: the median
    difference is taken off. After a gap in the stream, or when its clock starts anew, the next frame passes.
    """

    def __init__(self, settings: MotionSettings) -> None:
        from av.video.reformatter import VideoReformatter  # as in `film.Scaler`

        self._settings = settings
        self._reformatter = VideoReformatter()
        self._background: NDArray[np.float32] | None = None
        self._at = 0.0
        self._moved = -math.inf
        self._passed = -math.inf
        self.moving = False

    def __call__(self, frame: Frame, at: float) -> Drop | None:
        if self._wanted(self._small(frame), at) or at - self._passed >= self._settings.every_s:
            self._passed = at
            return None
        return Drop.STILL

    def _small(self, frame: Frame) -> NDArray[np.float32]:
        small = self._reformatter.reformat(
            frame, width=WIDTH, height=HEIGHT, format="gray8", interpolation="AREA", threads=1
        )
        values: NDArray[np.float32] = small.to_ndarray().astype(np.float32)
        return values

    def _wanted(self, small: NDArray[np.float32], at: float) -> bool:
        """Whether something moves, or did a moment ago."""
        settings, step = self._settings, at - self._at
        self._at = at
        if self._background is None or not 0 <= step <= GAP_S:
            self._background, self.moving, self._moved, self._passed = small, False, -math.inf, -math.inf
            return True
        change = small - self._background
        share = float(np.mean(np.abs(change - np.median(change)) > settings.level))
        if share >= (settings.share / 2 if self.moving else settings.share):
            self._moved = at
        self.moving = at - self._moved <= settings.hold_s
        tau = settings.adapt_s * (6 if self.moving else 1)
        self._background += np.float32(1 - math.exp(-step / tau)) * change
        return self.moving
