"""Which inputs go through which model, and what becomes of the answers."""

from __future__ import annotations

import msgspec

from edge.settings.sources import Source


class Pipeline(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One source feeding one model."""

    name: str
    model: str
    source: Source
    remember: bool = False
    """Keep inputs on the device until somebody labels them, so that they can be trained on here."""

    snapshot: str = ""
    """File to which the newest picture with its detections is written; empty for none."""

    threshold: float = 0.5
    """Least score of a detection, 0 to 1."""
