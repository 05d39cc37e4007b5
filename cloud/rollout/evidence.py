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
"""Names in a report: far beyond any model of ours, and no device may fill the database with them."""

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
            classes=_added(self.classes, other.classes),
            champion_classes=_added(self.champion_classes, other.champion_classes),
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
    numbers = {name: getattr(report, name) for name in _NUMBERS}
    counts = [*numbers.values(), *report.confidence.values(), *report.classes.values()]
    if any(count < 0 for count in [*counts, *report.champion_classes.values()]):
        raise ContractError("a shadow report counts less than nothing")
    if report.agreed > report.inputs or sum(report.confidence.values()) > report.inputs:
        raise ContractError("a shadow report counts more agreements than inputs")
    if any(not -TWENTIETHS <= bin_ <= TWENTIETHS for bin_ in report.confidence):
        raise ContractError("a difference of confidence lies between -1 and 1")
    if len(report.classes) > MAX_CLASSES or len(report.champion_classes) > MAX_CLASSES:
        raise ContractError(f"a shadow report names more than {MAX_CLASSES} classes")
    for sketch in (report.latency_ms, report.champion_latency_ms):
        if sketch:
            Sketch.from_bytes(sketch)
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


def _added(one: Mapping[_Key, int], other: Mapping[_Key, int]) -> dict[_Key, int]:
    return {key: one.get(key, 0) + other.get(key, 0) for key in {**one, **other}}


def _sketched(one: bytes, other: bytes) -> bytes:
    if not one or not other:
        return one or other
    return Sketch.merged([Sketch.from_bytes(one), Sketch.from_bytes(other)]).to_bytes()


def _hotter(one: float | None, other: float | None) -> float | None:
    return max((value for value in (one, other) if value is not None), default=None)
