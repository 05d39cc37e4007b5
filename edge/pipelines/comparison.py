"""What two releases answered to the same inputs, counted into reports that never span two pairs."""

from __future__ import annotations

import math
from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from edge.pipelines.answer import Answer
from shared.messages import ShadowReport
from shared.sketch import Sketch

STEPS = 20
"""Steps of confidence from 0 to 1."""


class Pair(NamedTuple):
    """Who is compared."""

    champion: str
    challenger: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One release's answers to a batch."""

    answers: Sequence[Answer | None]
    """None where it had none."""

    took_ms: float


@dataclass(slots=True)
class _Window:
    """Counts of one pair since `since`; the names are those of `ShadowReport`."""

    since: float
    inputs: int = 0
    skipped: int = 0
    errors: int = 0
    champion_errors: int = 0
    agreed: int = 0
    outcomes: Counter[tuple[bool, bool]] = field(default_factory=Counter)
    """(champion right, challenger right) → labelled inputs."""

    confidence: Counter[int] = field(default_factory=Counter)
    latency_ms: list[float] = field(default_factory=list)
    champion_latency_ms: list[float] = field(default_factory=list)
    classes: Counter[str] = field(default_factory=Counter)
    champion_classes: Counter[str] = field(default_factory=Counter)
    memory_mib: float | None = None


class Comparison:
    """Gathers until `flush`. Labels that come later count for the pair that predicted."""

    def __init__(self, *, pipeline: str, model: str, capacity: int = 20_000) -> None:
        """Remember the predictions of at most `capacity` inputs; the oldest are forgotten unlabelled."""
        self._pipeline = pipeline
        self._model = model
        self._capacity = capacity
        self._windows: dict[Pair, _Window] = {}
        self._waiting: OrderedDict[str, tuple[Pair, int, int]] = OrderedDict()

    def answered(self, pair: Pair, ids: Sequence[str], *, champion: Side, challenger: Side, at: float) -> None:
        """Count a batch that both were shown.

        Args:
            pair: who answered.
            ids: of the inputs.
            champion: answers in the order of `ids`, as are the next.
            challenger: what the one in the shadow said.
            at: Unix seconds.
        """
        window = self._window(pair, at)
        for name, mine, its in zip(ids, champion.answers, challenger.answers, strict=True):
            if mine is not None and its is not None:
                self._compare(window, mine, its)
                self._remember(name, pair, mine, its)
            window.errors += mine is not None and its is None
            window.champion_errors += mine is None and its is not None
        if any(answer is not None for answer in challenger.answers):
            window.latency_ms.append(challenger.took_ms)
            window.champion_latency_ms.append(champion.took_ms)

    def skipped(self, pair: Pair, count: int, *, at: float) -> None:
        """Count inputs that the challenger was spared."""
        self._window(pair, at).skipped += count

    def measured(self, pair: Pair, memory_mib: float | None) -> None:
        """Note how large the challenger's process has been."""
        if pair in self._windows and memory_mib is not None:
            window = self._windows[pair]
            window.memory_mib = max(memory_mib, window.memory_mib or 0.0)

    def labelled(self, sample: str, label: int, *, at: float) -> bool:
        """Count the label of an input once; False where not both have classified it, or it was counted before."""
        waiting = self._waiting.pop(sample, None)
        if waiting is None:
            return False
        pair, mine, its = waiting
        self._window(pair, at).outcomes[mine == label, its == label] += 1
        return True

    def flush(self, *, at: float, temperature_c: float | None = None) -> list[ShadowReport]:
        """One report for each pair that has something to say; new windows start when the next input comes."""
        windows, self._windows = self._windows, {}
        return [self._report(pair, windows[pair], at, temperature_c) for pair in sorted(windows)]

    def _window(self, pair: Pair, at: float) -> _Window:
        return self._windows.setdefault(pair, _Window(since=at))

    def _compare(self, window: _Window, mine: Answer, its: Answer) -> None:
        window.inputs += 1
        window.agreed += same(mine, its)
        window.confidence[step_of(its.confidence - mine.confidence)] += 1
        window.classes.update(its.labels)
        window.champion_classes.update(mine.labels)

    def _remember(self, name: str, pair: Pair, mine: Answer, its: Answer) -> None:
        if mine.index < 0 or its.index < 0:
            return  # a detector's answer has no one label to be held against
        self._waiting[name] = (pair, mine.index, its.index)
        self._waiting.move_to_end(name)
        if len(self._waiting) > self._capacity:
            self._waiting.popitem(last=False)

    def _report(self, pair: Pair, window: _Window, until: float, temperature_c: float | None) -> ShadowReport:
        return ShadowReport(
            pipeline=self._pipeline,
            model=self._model,
            release=pair.challenger,
            champion=pair.champion,
            since=window.since,
            until=until,
            inputs=window.inputs,
            skipped=window.skipped,
            errors=window.errors,
            champion_errors=window.champion_errors,
            agreed=window.agreed,
            both_right=window.outcomes[True, True],
            only_champion=window.outcomes[True, False],
            only_challenger=window.outcomes[False, True],
            both_wrong=window.outcomes[False, False],
            confidence=dict(window.confidence),
            latency_ms=_sketched(window.latency_ms),
            champion_latency_ms=_sketched(window.champion_latency_ms),
            classes=dict(window.classes),
            champion_classes=dict(window.champion_classes),
            temperature_c=temperature_c,
            memory_mib=window.memory_mib,
        )


def same(mine: Answer, its: Answer) -> bool:
    """Whether two answers say the same: one class, for detectors as many objects of each class, wherever, and for
    numbers alone one that is as near as the models' tolerance.
    """
    if not mine.labels and not its.labels and mine.value is not None and its.value is not None:
        return abs(mine.value - its.value) <= max(mine.tolerance, its.tolerance)
    return Counter(mine.labels) == Counter(its.labels)


def step_of(difference: float) -> int:
    """A difference of confidences, −1 to 1, rounded down to twentieths."""
    return max(-STEPS, min(STEPS, math.floor(difference * STEPS + 1e-9)))


def _sketched(values: list[float]) -> bytes:
    return Sketch(values).to_bytes() if values else b""
