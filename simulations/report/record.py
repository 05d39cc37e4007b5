"""The record of one run of the `loop` scenario: the schema of `report/report.json`.

Times named `_s` are seconds since the scenario started unless said otherwise; shares are 0 to 1.
"""

from __future__ import annotations

import msgspec


class StageSeen(msgspec.Struct, frozen=True, kw_only=True):
    """A station of the loop, and what proves that it happened."""

    name: str
    at_s: float
    evidence: str


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """One federated round as the coordinator stored it."""

    run: str
    task: str
    number: int
    loss: float
    accuracy: float
    """Over all hold-outs of the cohort, float model."""

    clients: int
    seconds: float
    at_s: float


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One federated run."""

    id: str
    task: str
    reason: str
    """Why it was started: an operator, or drift on named devices."""

    model_digest: str
    """SHA-256 over the final float weights."""

    evaluation: dict[str, float]
    verdict: str


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """One signed release and its way to the devices."""

    id: str
    model: str
    digest: str
    size: dict[str, int]
    """Bytes per variant."""

    published_s: float
    active_after_s: dict[str, float]
    """Device → seconds from publication until the device reported it active."""

    waves: list[list[str]]


class AccuracyPoint(msgspec.Struct, frozen=True, kw_only=True):
    """Live accuracy of one device over one reporting window."""

    device: str
    at_s: float
    release: str
    phase: str
    correct: int
    labelled: int


class DriftPoint(msgspec.Struct, frozen=True, kw_only=True):
    """Drift score of one device after one report."""

    device: str
    at_s: float
    score: float
    alarm: bool


class Activation(msgspec.Struct, frozen=True, kw_only=True):
    """A step of a device's update machine."""

    device: str
    release: str
    stage: str
    at_s: float
    reason: str = ""


class Accuracy(msgspec.Struct, frozen=True, kw_only=True):
    """Accuracy on live windows of the shifted devices, with the counts behind it."""

    before_drift: float
    under_drift: float
    after_retrain: float
    windows: dict[str, int]


class Inference(msgspec.Struct, frozen=True, kw_only=True):
    """What the devices computed, over the whole run."""

    windows: int
    frames: int
    p50_ms: float
    p99_ms: float
    errors: int


class Drift(msgspec.Struct, frozen=True, kw_only=True):
    """The alarm that started the retraining."""

    detected_after_s: float
    """Seconds from the first shifted input on a device to the coordinator's alarm."""

    score: float
    threshold: float
    devices: list[str]
    shift: str
    """What was done to the streams, in words."""


class TelemetryBalance(msgspec.Struct, frozen=True, kw_only=True):
    """Records that devices wrote against records that the coordinator holds."""

    sent: int
    stored: int
    lost: int
    duplicated: int


class LoopReport(msgspec.Struct, frozen=True, kw_only=True):
    """The whole record."""

    scenario: str
    seed: int
    duration_s: float
    loop_closed: bool
    """True only if every stage was observed."""

    stages: list[StageSeen]
    missing: list[str]
    """Stages that were not observed."""

    devices: list[str]
    shifted_devices: list[str]
    rounds: list[Round]
    runs: list[Run]
    accuracy: Accuracy
    releases: list[Release]
    inference: Inference
    drift: Drift
    telemetry: TelemetryBalance
    accuracy_over_time: list[AccuracyPoint]
    drift_over_time: list[DriftPoint]
    rollout_timeline: list[Activation]
    detections: dict[str, int]
    """Objects per class name that the camera reported."""

    notes: list[str]
    """What a reader must know to judge the figures."""
