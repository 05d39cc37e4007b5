"""Does one detector find what another one finds?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from shared.objects import DetectSettings, find_objects, matched
from simulations.detector.int8 import session_of

MARGIN = 0.1
"""By how much the other detector's threshold is lower: an object at 0.51 here and 0.49 there is no miss."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Counts over all frames."""

    frames: int
    objects: int
    """Found by the reference."""

    found: int
    """Of these, found by the other one too."""

    nearly: int
    """Of these, found by the other one with its threshold lowered by `MARGIN`."""

    claimed: int
    """Found by the other one."""

    confirmed: int
    """Of these, found by the reference too."""

    def shares(self) -> dict[str, float]:
        """For a manifest: shares from 0 to 1, and the counts they stand on."""
        return {
            "detection.frames": float(self.frames),
            "detection.objects": float(self.objects),
            "detection.recall": self.found / max(self.objects, 1),
            "detection.recall_nearly": self.nearly / max(self.objects, 1),
            "detection.precision": self.confirmed / max(self.claimed, 1),
        }


def compare(reference: bytes, other: bytes, frames: Sequence[NDArray[np.float32]]) -> Agreement:
    """Run both on the same frames [1, 3, 300, 300] and match their objects."""
    settings = DetectSettings()
    lenient = replace(settings, threshold=settings.threshold - MARGIN)
    first, second = session_of(reference), session_of(other)
    counts = np.zeros(5, int)
    for frame in frames:
        a, b = (session.run(None, {"x": frame}) for session in (first, second))
        truth, found, nearly = (
            find_objects(output[0][0], output[1][0], chosen)
            for output, chosen in ((a, settings), (b, settings), (b, lenient))
        )
        counts += [len(truth[0]), matched(truth, found), matched(truth, nearly), len(found[0]), matched(found, truth)]
    objects, hit, close, claimed, confirmed = counts.tolist()
    return Agreement(frames=len(frames), objects=objects, found=hit, nearly=close, claimed=claimed, confirmed=confirmed)
