"""Counters of one pipeline, cut into telemetry that never spans two releases."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from edge.pipelines.accuracy import Bucket, LiveAccuracy, Tally
from shared.messages import Pace, Stall, Telemetry
from shared.sketch import Sketch

PACES = 16
"""Changes of pace that wait for a message."""

RECENT = 512
"""Inputs whose latency is remembered beyond the window."""


@dataclass(slots=True)
class _Window:
    """What happened to inputs of one (release, phase)."""

    processed: int = 0
    errors: int = 0
    received: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    stalls: list[Stall] = field(default_factory=list)
    latency_ms: list[float] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


class Reporter:
    """Gathers until `flush`; the pipeline flushes when the window is over or the release changes."""

    def __init__(
        self, *, pipeline: str, model: str, accuracy: LiveAccuracy, labels_held: Callable[[], int], since: float
    ) -> None:
        self._pipeline = pipeline
        self._model = model
        self._accuracy = accuracy
        self._labels_held = labels_held
        self._since = since
        self._windows: dict[Bucket, _Window] = {}
        self._paces: list[Pace] = []
        self.recent_ms: deque[float] = deque(maxlen=RECENT)
        """Latencies of the last inputs, for who looks now; telemetry has all of them."""

    def paced(self, pace: Pace) -> None:
        """Tell of another pace, with the next message; of more than a few the newest."""
        self._paces = [*self._paces, pace][-PACES:]

    def inferred(self, bucket: Bucket, *, latency_ms: float, labels: Iterable[str]) -> None:
        """Count an input that was answered."""
        window = self._window(bucket)
        window.processed += 1
        window.latency_ms.append(latency_ms)  # sketched in one go at the flush
        self.recent_ms.append(latency_ms)
        window.counts.update(labels)

    def failed(self, bucket: Bucket) -> None:
        """Count an input that got no answer."""
        self._window(bucket).errors += 1

    def came(self, bucket: Bucket, *, received: int, dropped: Mapping[str, int], stalls: Sequence[Stall]) -> None:
        """Count inputs that came into the source, and those that were given up there; pass on what it noticed."""
        window = self._window(bucket)
        window.received += received
        window.dropped.update(dropped)
        window.stalls += stalls

    def flush(self, *, at: float) -> list[Telemetry]:
        """One message for each (release, phase) that has something to say; a new window starts at `at`."""
        windows, self._windows = self._windows, {}
        tallies = self._accuracy.drain()
        since, self._since = self._since, at
        messages = [
            self._telemetry(bucket, windows.get(bucket, _Window()), tallies.get(bucket, Tally(0, 0)), since, at)
            for bucket in sorted({*windows, *tallies})
        ]
        if messages and self._paces:
            messages[-1] = msgspec.structs.replace(messages[-1], paces=self._paces)
            self._paces = []
        return messages

    def _window(self, bucket: Bucket) -> _Window:
        return self._windows.setdefault(bucket, _Window())

    def _telemetry(self, bucket: Bucket, window: _Window, tally: Tally, since: float, until: float) -> Telemetry:
        return Telemetry(
            pipeline=self._pipeline,
            model=self._model,
            release=bucket.release,
            since=since,
            until=until,
            processed=window.processed,
            errors=window.errors,
            dropped=window.dropped.total(),
            latency_ms=Sketch(window.latency_ms).to_bytes() if window.latency_ms else b"",
            labelled=tally.labelled,
            correct=tally.correct,
            phase=bucket.phase,
            labels_held=self._labels_held(),
            counts=dict(window.counts),
            received=window.received,
            dropped_by=dict(window.dropped),
            stalls=window.stalls,
        )
