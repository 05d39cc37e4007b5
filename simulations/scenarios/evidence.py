"""From what the coordinator's API says to the record of a run: pure functions of its answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from shared import api
from simulations.report import record


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One reading of the whole API, at the end of the story."""

    devices: Sequence[api.Device]
    runs: Sequence[api.Run]
    releases: Sequence[api.Release]
    rollouts: Sequence[api.Rollout]
    drift: api.Drift
    telemetry: api.TelemetrySummary
    events: Sequence[api.Event]
    began: float
    """Unix seconds when the scenario started."""


def rounds(evidence: Evidence) -> list[record.Round]:
    """Every federated round, oldest first."""
    rows = []
    for run in sorted(evidence.runs, key=lambda run: run.created_at):
        before = run.started_at or run.created_at
        for each in run.rounds:
            rows.append(
                record.Round(
                    run=run.id,
                    task=run.model,
                    number=each.number,
                    loss=each.metrics.get("loss", 0.0),
                    accuracy=each.metrics.get("accuracy", 0.0),
                    clients=int(each.metrics.get("clients", len(each.cohort))),
                    seconds=each.metrics.get("seconds", each.at - before),
                    at_s=each.at - evidence.began,
                )
            )
            before = each.at
    return rows


def runs(evidence: Evidence) -> list[record.Run]:
    """Every federated run, oldest first."""
    return [
        record.Run(
            id=run.id,
            task=run.model,
            reason=f"{run.cause}: {run.reason}" if run.reason else run.cause,
            model_digest=str(run.result.get("digest", "")),
            evaluation={k: float(v) for k, v in run.result.get("evaluation", {}).items()},
            verdict=run.state,
        )
        for run in sorted(evidence.runs, key=lambda run: run.created_at)
    ]


def releases(evidence: Evidence) -> list[record.Release]:
    """Every signed release and when it was active where."""
    rows = []
    for release in sorted(evidence.releases, key=lambda release: release.created_at):
        published = release.published_at or release.created_at
        ways = [rollout for rollout in evidence.rollouts if rollout.release == release.id]
        active = {d.device: d.active_at - published for way in ways for d in way.devices if d.active_at is not None}
        rows.append(
            record.Release(
                id=release.id,
                model=release.model,
                digest=release.digest,
                size={variant.name: variant.size for variant in release.variants},
                published_s=published - evidence.began,
                active_after_s=dict(sorted(active.items())),
                waves=[wave for way in ways for wave in way.waves],
            )
        )
    return rows


def activations(evidence: Evidence) -> list[record.Activation]:
    """When each device was offered each release, and where that ended."""
    rows = []
    for rollout in evidence.rollouts:
        for device in rollout.devices:
            for stage, at in (("offered", device.offered_at), (device.stage, device.active_at or device.at)):
                if at is not None:
                    rows.append(
                        record.Activation(
                            device=device.device,
                            release=rollout.release,
                            stage=stage,
                            at_s=at - evidence.began,
                            reason=device.reason,
                        )
                    )
    return rows


def accuracy(
    evidence: Evidence, *, devices: Iterable[str], model: str, own: str, shifted: Sequence[str]
) -> record.Accuracy:
    """Accuracy on labelled live windows of `devices`, pooled.

    Before the drift: phase `own`. Under drift: phases `shifted`, answered by the release that serves when the shift
    comes. After retraining: phases `shifted`, answered by the newest release.
    """
    wanted = set(devices)
    points = [p for p in evidence.telemetry.accuracy if p.device in wanted and p.model == model]
    order = [r.id for r in sorted(evidence.releases, key=lambda r: r.counter) if r.model == model]
    old, new = (order[0], order[-1]) if order else ("", "")
    parts = {
        "before_drift": [p for p in points if p.phase == own and p.release == old],
        "under_drift": [p for p in points if p.phase in shifted and p.release == old],
        "after_retrain": [p for p in points if p.phase in shifted and p.release == new and new != old],
    }
    counts = {name: sum(p.labelled for p in part) for name, part in parts.items()}
    shares = {name: sum(p.correct for p in part) / max(1, counts[name]) for name, part in parts.items()}
    return record.Accuracy(windows=counts, **shares)


def accuracy_over_time(evidence: Evidence, *, model: str) -> list[record.AccuracyPoint]:
    """Every telemetry window that had labels."""
    return [
        record.AccuracyPoint(
            device=p.device,
            at_s=p.at - evidence.began,
            release=p.release,
            phase=p.phase,
            correct=p.correct,
            labelled=p.labelled,
        )
        for p in evidence.telemetry.accuracy
        if p.model == model and p.labelled
    ]


def drift_over_time(evidence: Evidence, *, model: str) -> list[record.DriftPoint]:
    """Every drift score."""
    return [
        record.DriftPoint(device=s.device, at_s=s.at - evidence.began, score=s.score, alarm=s.alarm)
        for s in evidence.drift.scores
        if s.model == model
    ]


def inference(evidence: Evidence, *, windows: Iterable[str], frames: Iterable[str]) -> record.Inference:
    """Totals; latencies are the slowest model's, so that none hides behind another."""
    views, sensor, camera = evidence.telemetry.inference, set(windows), set(frames)
    latency = evidence.telemetry.latency.values()
    return record.Inference(
        windows=sum(view.processed for view in views if view.model in sensor),
        frames=sum(view.processed for view in views if view.model in camera),
        p50_ms=max((each.get("p50_ms", 0.0) for each in latency), default=0.0),
        p99_ms=max((each.get("p99_ms", 0.0) for each in latency), default=0.0),
        errors=sum(view.errors for view in views),
    )


def detections(evidence: Evidence, *, model: str) -> dict[str, int]:
    """Objects per class that cameras reported."""
    counts: Counter[str] = Counter()
    for view in evidence.telemetry.inference:
        if view.model == model:
            counts.update(view.counts)
    return dict(counts.most_common())
