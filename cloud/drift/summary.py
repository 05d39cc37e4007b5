"""Sketches of one window as a value that can be kept, and merged with others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec

from shared.errors import ContractError
from shared.messages import DriftReport
from shared.sketch import Sketch

MAX_FEATURES = 64
"""Features per report that are looked at; agents send 12 to 24."""


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What a report says about inputs and answers, without who and when."""

    features: dict[str, bytes]
    confidence: bytes
    classes: dict[str, int]
    count: int
    """Inputs, as the sketches themselves count them."""

    @classmethod
    def of(cls, report: DriftReport) -> Summary:
        """Take a report's sketches after checking each.

        Raises:
            ContractError: a sketch is none, or there are none, or too many.
        """
        if not 0 < len(report.features) <= MAX_FEATURES:
            raise ContractError(f"a drift report of {len(report.features)} features")
        counts = [Sketch.from_bytes(data).count for data in report.features.values()]
        Sketch.from_bytes(report.confidence)
        return cls(
            features=dict(report.features),
            confidence=report.confidence,
            classes={name: count for name, count in report.classes.items() if count > 0},
            count=min(counts),
        )


def merge(summaries: Sequence[Summary]) -> Summary:
    """One summary of all inputs; features that only some have are left out."""
    if len(summaries) == 1:
        return summaries[0]
    names = set.intersection(*(set(summary.features) for summary in summaries)) if summaries else set()
    classes: Counter[str] = Counter()
    for summary in summaries:
        classes.update(summary.classes)
    return Summary(
        features={name: _merged([summary.features[name] for summary in summaries]) for name in sorted(names)},
        confidence=_merged([summary.confidence for summary in summaries]),
        classes=dict(classes),
        count=sum(summary.count for summary in summaries),
    )


def _merged(sketches: Sequence[bytes]) -> bytes:
    return Sketch.merged(Sketch.from_bytes(data) for data in sketches).to_bytes()
