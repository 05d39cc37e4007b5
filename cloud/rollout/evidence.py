"""What challengers were seen to do beside their champions: counts that merge, over windows and over devices."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import reduce
from typing import TypeVar

import msgspec

from shared.errors import ContractError
from shared.messages import ShadowReport
from shared.sketch import Sketch

TWENTIETHS = 20

MAX_CLASSES = 4096
"""Names that are kept, the most frequent ones: far beyond any model of ours, and no device may fill the database."""

OTHERS = "*"
"""All names beyond them."""

MAX_NAME = 80
"""Characters of a class's name."""

MAX_INPUTS = 10**9
"""In one window; sums of what devices claim stay far below 2⁶³ for as many windows as anybody sends."""

_Key = TypeVar("_Key", int, str)


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """Paired counts; the fields are those of `ShadowReport`."""

    inputs: int = 0
    skipped: int = 0
    errors: int = 0
    champion_errors: int = 0
    agreed: int = 0
    both_right: int = 0
    only_challenger: int = 0
    only_champion: int = 0
    both_wrong: int = 0
    confidence: dict[int, int] = {}
    latency_ms: bytes = b""
    champion_latency_ms: bytes = b""
    classes: dict[str, int] = {}
    champion_classes: dict[str, int] = {}
    temperature_c: float | None = None
    memory_mib: float | None = None

    @property
    def labelled(self) -> int:
        """Inputs that both answered and somebody labelled."""
        return self.both_right + self.only_challenger + self.only_champion + self.both_wrong

    def __add__(self, other: Evidence) -> Evidence:
        """Both together."""
        return Evidence(
            **{name: getattr(self, name) + getattr(other, name) for name in _NUMBERS},
            confidence=_added(self.confidence, other.confidence),
            latency_ms=_sketched(self.latency_ms, other.latency_ms),
            champion_latency_ms=_sketched(self.champion_latency_ms, other.champion_latency_ms),
            classes=_few(_added(self.classes, other.classes)),
            champion_classes=_few(_added(self.champion_classes, other.champion_classes)),
            temperature_c=_hotter(self.temperature_c, other.temperature_c),
            memory_mib=_hotter(self.memory_mib, other.memory_mib),
        )


_NUMBERS = (
    "inputs", "skipped", "errors", "champion_errors", "agreed",
    "both_right", "only_challenger", "only_champion", "both_wrong",
)  # fmt: skip


def evidence_of(report: ShadowReport) -> Evidence:
    """What one report says.

    Raises:
        ContractError: its counts contradict each other.
    """
    _check(report)
    numbers = {name: getattr(report, name) for name in _NUMBERS}
    return Evidence(
        **numbers,
        confidence=report.confidence,
        latency_ms=report.latency_ms,
        champion_latency_ms=report.champion_latency_ms,
        classes=report.classes,
        champion_classes=report.champion_classes,
        temperature_c=report.temperature_c,
        memory_mib=report.memory_mib,
    )


def together(evidence: Iterable[Evidence]) -> Evidence:
    """All of it as one."""
    return reduce(Evidence.__add__, evidence, Evidence())


def _check(report: ShadowReport) -> None:
    numbers = [getattr(report, name) for name in _NUMBERS]
    counts = [*numbers, *report.confidence.values(), *report.classes.values(), *report.champion_classes.values()]
    if any(not 0 <= count <= MAX_INPUTS for count in counts):
        raise ContractError("a shadow report counts less than nothing, or more than a window holds")
    if report.agreed > report.inputs or sum(report.confidence.values()) > report.inputs:
        raise ContractError("a shadow report counts more agreements than inputs")
    if any(not -TWENTIETHS <= bin_ <= TWENTIETHS for bin_ in report.confidence):
        raise ContractError("a difference of confidence lies between -1 and 1")
    for classes in (report.classes, report.champion_classes):
        if len(classes) > MAX_CLASSES or any(len(name) > MAX_NAME for name in classes):
            raise ContractError(f"a shadow report names more than {MAX_CLASSES} classes, or long ones")
    for sketch in (report.latency_ms, report.champion_latency_ms):
        if sketch:
            Sketch.from_bytes(sketch)


def _few(counts: dict[str, int]) -> dict[str, int]:
    """The most frequent names; the rest becomes one."""
    if len(counts) <= MAX_CLASSES:
        return counts
    ordered = sorted(counts.items(), key=lambda item: (item[0] == OTHERS, -item[1], item[0]))
    kept, rest = ordered[: MAX_CLASSES - 1], ordered[MAX_CLASSES - 1 :]
    return dict(kept) | {OTHERS: sum(count for _, count in rest)}


def _added(one: Mapping[_Key, int], other: Mapping[_Key, int]) -> dict[_Key, int]:
    return {key: one.get(key, 0) + other.get(key, 0) for key in {**one, **other}}


def _sketched(one: bytes, other: bytes) -> bytes:
    if not one or not other:
        return one or other
    return Sketch.merged([Sketch.from_bytes(one), Sketch.from_bytes(other)]).to_bytes()


def _hotter(one: float | None, other: float | None) -> float | None:
    return max((value for value in (one, other) if value is not None), default=None)
