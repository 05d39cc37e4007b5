"""Did the loop close? The record, composed from evidence; a stage nobody saw is named as missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from simulations.report import record
from simulations.scenarios import evidence as read
from simulations.scenarios import lines
from simulations.scenarios.cast import LABELLED, OWN, SHIFT_IN_WORDS, SHIFTED, SHIFTED_PHASE
from simulations.scenarios.evidence import Evidence

STAGES = (
    "enrolled", "trained", "judged", "signed", "published", "activated", "inferred", "drifted", "retrained",
    "re-released", "second family trained", "second family activated",
)  # fmt: skip  # the loop in its order
"""Every one must have been observed for the loop to count as closed."""

NOTES = (
    "Labels come from a simulated operator who knows the truth of the recordings: each label is dropped into the "
    "device's label inbox some seconds after the window was inferred. The first part of a shifted stream is "
    "labelled for training; all other labels only measure.",
    "The streams are recordings replayed faster than real time; no live window was trained on before it was judged. "
    "The later part of the shifted streams is replayed several times so that it does not end before the story.",
    "Accuracy before drift, under drift and after retraining is pooled over the shifted devices' labelled live "
    "windows.",
    "The detector is an imported model; its int8 variant is what the camera runs, and its detections are not "
    "compared with any truth here.",
    "All processes share one machine and talk over loopback with mutual TLS.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A stage as the scenario observed it."""

    name: str
    at: float
    evidence: str


def compose(
    evidence: Evidence, seen: Sequence[Seen], *, seed: int, written: int, shifted: float, ended: float
) -> record.LoopReport:
    """The record of a whole run.

    Args:
        evidence: the API's answers at the end.
        seen: stages in the order they were observed.
        seed: of the scenario.
        written: records that the devices' outboxes say they wrote.
        shifted: when no device had met its shift yet, for the last time, Unix seconds.
        ended: Unix seconds.
    """
    accuracy = read.accuracy(
        evidence, devices=SHIFTED, model=lines.ACTIVITY, own=OWN, shifted=(LABELLED, SHIFTED_PHASE)
    )
    telemetry = balance(evidence, written=written)
    missing = [stage for stage in STAGES if stage not in {each.name for each in seen}]
    if accuracy.after_retrain < accuracy.under_drift + 0.10:
        missing.append("accuracy recovered")
    if telemetry.lost or telemetry.duplicated:
        missing.append("telemetry whole")
    return record.LoopReport(
        scenario="loop",
        seed=seed,
        duration_s=ended - evidence.began,
        loop_closed=not missing,
        stages=[record.StageSeen(name=s.name, at_s=s.at - evidence.began, evidence=s.evidence) for s in seen],
        missing=missing,
        devices=sorted(device.id for device in evidence.devices),
        shifted_devices=sorted(SHIFTED),
        rounds=read.rounds(evidence),
        runs=read.runs(evidence),
        accuracy=accuracy,
        releases=read.releases(evidence),
        inference=read.inference(evidence, windows=(lines.ACTIVITY, lines.FASHION), frames=(lines.DETECTION,)),
        drift=drift(evidence, shifted=shifted),
        telemetry=telemetry,
        accuracy_over_time=read.accuracy_over_time(evidence, model=lines.ACTIVITY),
        drift_over_time=read.drift_over_time(evidence, model=lines.ACTIVITY),
        rollout_timeline=read.activations(evidence),
        detections=read.detections(evidence, model=lines.DETECTION),
        notes=list(NOTES),
    )


def drift(evidence: Evidence, *, shifted: float) -> record.Drift:
    """The alarms, each device's first after the shift; the delay is the slowest device's."""
    first: dict[str, float] = {}
    for event in evidence.events:
        if event.kind == "drift.alarm" and event.subject in SHIFTED and event.at >= shifted:
            first.setdefault(event.subject, event.at)
    raised = max(first.values(), default=shifted)
    scores = [s.score for s in evidence.drift.scores if s.device in first and s.at <= first[s.device] + 1]
    return record.Drift(
        detected_after_s=raised - shifted,
        score=max(scores, default=0.0),
        threshold=evidence.drift.thresholds.get(lines.ACTIVITY, 0.0),
        devices=sorted(first),
        shift=SHIFT_IN_WORDS,
    )


def balance(evidence: Evidence, *, written: int) -> record.TelemetryBalance:
    """Records the devices wrote against those the coordinator holds."""
    total = evidence.telemetry.total
    return record.TelemetryBalance(
        sent=written, stored=total.stored, lost=written - total.stored + total.duplicated, duplicated=total.duplicated
    )
