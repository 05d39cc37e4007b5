"""Tumbling windows of drift sketches: each becomes one report, about one release."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.messages import DriftReport
from shared.sketch import Sketch


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftSettings:
    """When a window ends."""

    inputs: int = 120
    """A window ends with the batch that brings it to this many inputs."""

    seconds: float = 300.0
    """Or after this time, so that a slow sensor is heard too."""

    rate: float = 50.0
    """Most inputs a second that are looked at. More would cost a fast model a share of its time and tell little:
    frames milliseconds apart show the same thing, and a test that takes them for so many witnesses is too sure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What a batch of inputs and its answers add to a window."""

    release: str
    features: Mapping[str, NDArray[np.float32]]
    """Feature name → one value per input, [n]."""

    confidence: Sequence[float]
    """Per input, 0 to 1."""

    labels: Iterable[str]
    """Predicted classes: as many as the model named, not necessarily one per input."""


class DriftWindow:
    """Gathers observations of one pipeline and cuts reports."""

    def __init__(self, *, pipeline: str, model: str, settings: DriftSettings | None = None) -> None:
        self._pipeline = pipeline
        self._model = model
        self._settings = settings or DriftSettings()
        self._sketches: Sketches | None = None
        self._release = ""
        self._since = 0.0
        self._rate = self._settings.rate
        self._credit = self._rate  # inputs that may be looked at: a second's worth is saved up
        self._credited = 0.0

    def wants(self, inputs: int, *, at: float) -> bool:
        """Whether to look at a batch of so many inputs, `at` monotonic seconds; those looked at count."""
        credit = self._credit + self._rate * (at - self._credited)
        self._credited = at
        if credit <= 0:
            self._credit = credit
            return False
        self._credit = min(self._rate, credit) - inputs
        return True

    def add(self, observation: Observation, *, at: float) -> list[DriftReport]:
        """Take in a batch; the reports that end with it (of the release before, or of this one)."""
        reports = self.flush(at=at) if observation.release != self._release else []
        if self._sketches is None:
            self._sketches, self._release, self._since = Sketches(), observation.release, at
        self._sketches.add(observation)
        if self._sketches.count >= self._settings.inputs:
            reports += self.flush(at=at)
        return reports

    def tick(self, *, at: float) -> list[DriftReport]:
        """The report that ends because its time is over."""
        return self.flush(at=at) if at - self._since >= self._settings.seconds else []

    def flush(self, *, at: float) -> list[DriftReport]:
        """End the window now; nothing if it is empty."""
        sketches, self._sketches = self._sketches, None
        if sketches is None:
            return []
        report = sketches.report(
            pipeline=self._pipeline, model=self._model, release=self._release, since=self._since, until=at
        )
        return [report]


class Sketches:
    """Everything one report summarises.

    Values wait and are sketched in one go: a dozen sketches cost more than a small model's inference.
    """

    def __init__(self) -> None:
        self.count = 0
        self._features: dict[str, list[NDArray[np.float32]]] = {}
        self._confidence: list[float] = []
        self._classes: Counter[str] = Counter()

    def add(self, observation: Observation) -> None:
        """Take in one batch."""
        self.count += len(observation.confidence)
        self.add_features(observation.features)
        self._confidence.extend(observation.confidence)
        self._classes.update(observation.labels)

    def add_features(self, features: Mapping[str, NDArray[np.float32]]) -> None:
        """Take in inputs that no model has seen."""
        for name, values in features.items():
            self._features.setdefault(name, []).append(values)

    def report(
        self, *, pipeline: str, model: str, release: str, since: float, until: float, reference: bool = False
    ) -> DriftReport:
        """The message."""
        return DriftReport(
            pipeline=pipeline,
            model=model,
            release=release,
            since=since,
            until=until,
            count=self.count,
            features={name: Sketch(np.concatenate(parts)).to_bytes() for name, parts in sorted(self._features.items())},
            confidence=Sketch(self._confidence).to_bytes(),
            classes=dict(sorted(self._classes.items())),
            reference=reference,
        )
