"""What devices told, as the HTTP API shows it: drift, delivery, accuracy, inference, the timeline."""

from __future__ import annotations

from typing import Any

import msgspec


class DriftScore(msgspec.Struct, frozen=True, kw_only=True):
    """How far one report of a device lay from its release's reference."""

    device: str
    model: str
    release: str
    score: float
    feature: str
    """The feature that moved most."""

    alarm: bool
    """Whether the device was in alarm after this report."""

    at: float


class Drift(msgspec.Struct, frozen=True, kw_only=True):
    """Drift of all devices."""

    scores: list[DriftScore]
    """Oldest first."""

    alarms: dict[str, list[str]]
    """Model → devices in alarm now."""

    thresholds: dict[str, float] = {}
    """Model → score at which a report counts towards an alarm."""


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """Records that devices sent against records held here."""

    sent: int = 0
    stored: int = 0
    lost: int = 0
    """Sent, and never to come: given up by a device over its cap."""

    duplicated: int = 0
    """Stored more than once; the primary key of the ledger makes this 0, and it is counted all the same."""

    resent: int = 0
    """Arrived again and were left out."""

    malformed: int = 0


class AccuracyPoint(msgspec.Struct, frozen=True, kw_only=True):
    """Live accuracy in one telemetry window of one device."""

    device: str
    model: str
    release: str
    phase: str
    at: float
    labelled: int
    correct: int


class InferenceView(msgspec.Struct, frozen=True, kw_only=True):
    """What one device computed with one release."""

    device: str
    model: str
    pipeline: str
    release: str
    processed: int
    errors: int
    dropped: int
    labelled: int
    correct: int
    p50_ms: float | None = None
    p99_ms: float | None = None
    counts: dict[str, int] = {}
    """Predictions per class name."""

    received: int = 0
    """Inputs that came into the source: processed + errors + dropped, once all of them have been told."""

    dropped_by: dict[str, int] = {}
    """Reason → inputs; adds up to `dropped`."""


class TelemetrySummary(msgspec.Struct, frozen=True, kw_only=True):
    """Everything telemetry says, added up."""

    total: Delivery
    devices: dict[str, Delivery]
    accuracy: list[AccuracyPoint]
    inference: list[InferenceView]
    latency: dict[str, dict[str, float]]
    """Model → `p50_ms`, `p99_ms` over all devices, from merged sketches."""


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the timeline."""

    id: int
    at: float
    kind: str
    subject: str
    text: str
    data: dict[str, Any] = {}
