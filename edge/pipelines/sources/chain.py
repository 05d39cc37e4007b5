"""What happens to a decoded frame before a model sees it: masked first, then judged, then scaled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edge.pipelines.sources.film import Frame
from edge.pipelines.sources.port import Drop

Mask = Callable[[Frame], Frame | Drop]
"""Gives the frame with everything hidden that nobody may see, or the reason to show none. In the decoding thread.

Whatever comes later sees only what it gives: gates, models, pictures, previews, data sets. If it raises, the source
fails, and no frame passes.
"""

Gate = Callable[[Frame, float], Drop | None]
"""Takes a masked frame and its time on the source's clock, in seconds; gives a reason to leave it out, or None.

Called in the decoding thread, with each frame that its gates before let pass, in order.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """The stages between decoder and queue, one set of its own for each source."""

    mask: Mask | None = None
    gates: Sequence[Gate] = ()

    def judge(self, frame: Frame, at: float) -> Frame | Drop:
        """The frame as all others may see it, or why it goes no further."""
        if self.mask is not None:
            seen = self.mask(frame)
            if isinstance(seen, Drop):
                return seen
            frame = seen
        for gate in self.gates:
            if (drop := gate(frame, at)) is not None:
                return drop
        return frame
