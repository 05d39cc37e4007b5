"""What requests did, told as pipelines tell it: telemetry and drift of a pipeline called `serving`."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from edge.drift.window import DriftSettings, DriftWindow, Observation
from edge.pipelines.accuracy import Bucket, LiveAccuracy
from edge.pipelines.answer import Answer
from edge.pipelines.hooks import Emit
from edge.pipelines.reporter import Reporter
from edge.pipelines.sources.port import Drop
from shared.clock import Clock
from shared.messages import DriftReport, Telemetry
from shared.topics import Up

NAME = "serving"
"""Its name in reports; no pipeline of a device's owner may have it where requests are served."""

RECENT = 512
"""Requests whose latency is remembered for who looks now."""


class Account:
    """Of one model line. All methods belong to the agent's loop."""

    def __init__(self, *, model: str, emit: Emit, drift: DriftSettings, clock: Clock) -> None:
        self._emit = emit
        self._clock = clock
        accuracy = LiveAccuracy(capacity=0)  # nobody labels what strangers asked
        self._reporter = Reporter(pipeline=NAME, model=model, accuracy=accuracy, labels_held=int, since=clock.now())
        self._drift = DriftWindow(pipeline=NAME, model=model, settings=drift)
        self._release = ""
        self.processed = 0
        """Inputs answered."""

        self.errors = 0
        """Inputs that the model had no answer to."""

        self.dropped_late = 0
        """Inputs that waited too long for their turn."""

        self.latency_ms: deque[float] = deque(maxlen=RECENT)

    def answered(
        self, release: str, answers: Iterable[Answer | None], *, latency_ms: float, seen: Observation | None
    ) -> None:
        """Count a request whose inputs a model has seen.

        Args:
            release: who answered.
            answers: what it said of each input; None where it said nothing that counts.
            latency_ms: from the request's arrival to its answer.
            seen: for drift, of the inputs that were answered; None where their scale is not known.
        """
        self._begin(release)
        bucket, answers = Bucket(release, ""), list(answers)
        self._came(release, inputs=len(answers))
        for answer in answers:
            if answer is None:
                self.errors += 1
                self._reporter.failed(bucket)
            else:
                self.processed += 1
                self._reporter.inferred(bucket, latency_ms=latency_ms, labels=answer.labels)
        self.latency_ms.append(latency_ms)
        if seen is not None:
            self._send(Up.DRIFT, self._drift.add(seen, at=self._clock.now()))

    def failed(self, release: str, *, inputs: int) -> None:
        """Count inputs on which the model failed."""
        self._begin(release)
        self._came(release, inputs=inputs)
        self.errors += inputs
        for _ in range(inputs):
            self._reporter.failed(Bucket(release, ""))

    def late(self, release: str, *, inputs: int) -> None:
        """Count inputs that waited too long for their turn."""
        self._begin(release)
        self.dropped_late += inputs
        self._came(release, inputs=inputs, late=inputs)

    def tick(self) -> None:
        """End the telemetry window, and the drift window if its time is over."""
        at = self._clock.now()
        self._send(Up.TELEMETRY, self._reporter.flush(at=at))
        self._send(Up.DRIFT, self._drift.tick(at=at))

    def flush(self) -> None:
        """Report everything gathered so far."""
        at = self._clock.now()
        self._send(Up.TELEMETRY, self._reporter.flush(at=at))
        self._send(Up.DRIFT, self._drift.flush(at=at))

    def _begin(self, release: str) -> None:
        if release != self._release:
            self.flush()
            self._release = release

    def _came(self, release: str, *, inputs: int, late: int = 0) -> None:
        dropped: dict[str, int] = {Drop.LATE: late} if late else {}
        self._reporter.came(Bucket(release, ""), received=inputs, dropped=dropped, stalls=())

    def _send(self, channel: Up, messages: Iterable[Telemetry | DriftReport]) -> None:
        for message in messages:
            self._emit(channel, message)
