"""Telemetry, added up."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

import msgspec
from sqlalchemy import Connection

from cloud.store.inbox import Head, heads, stored_twice
from cloud.store.telemetry import TelemetryRow, telemetry_rows
from shared.api import AccuracyPoint, Delivery, InferenceView, TelemetrySummary
from shared.errors import ContractError
from shared.sketch import Sketch


class Latency(NamedTuple):
    """Milliseconds from input ready to result."""

    p50_ms: float
    p99_ms: float


def telemetry_summary(connection: Connection, *, only: Collection[str] | None = None) -> TelemetrySummary:
    """Everything that telemetry says; of `only` these devices."""
    rows = [row for row in telemetry_rows(connection) if only is None or row.device in only]
    found = [head for head in heads(connection) if only is None or head.device in only]
    deliveries = {device: _delivery(group) for device, group in _by_device(found).items()}
    total = _sum(deliveries.values())
    return TelemetrySummary(
        total=msgspec.structs.replace(total, duplicated=stored_twice(connection) if only is None else 0),
        devices=deliveries,
        accuracy=[_accuracy(row) for row in rows if row.labelled],
        inference=inference(rows),
        latency=_latency_by_model(rows),
    )


def inference(rows: Iterable[TelemetryRow]) -> list[InferenceView]:
    """Sums per device, pipeline and release."""
    groups: dict[tuple[str, str, str, str], list[TelemetryRow]] = defaultdict(list)
    for row in rows:
        groups[row.device, row.model, row.pipeline, row.release].append(row)
    return [_inference(group) for _, group in sorted(groups.items())]


def latency(rows: Iterable[TelemetryRow]) -> Latency | None:
    """Percentiles over the merged sketches of `rows`; None without a single readable one."""
    sketches = []
    for row in rows:
        try:
            sketches.append(Sketch.from_bytes(row.latency_ms))
        except ContractError:  # one device's broken sketch leaves the others' percentiles standing
            continue
    merged = Sketch.merged(sketches)
    if not merged.count:
        return None
    middle, high = merged.quantiles([0.5, 0.99])
    return Latency(float(middle), float(high))


def _delivery(group: Iterable[Head]) -> Delivery:
    return _sum(
        Delivery(
            sent=head.highest,
            stored=head.stored,
            lost=max(head.dropped, head.highest - head.stored),
            resent=head.resent,
            malformed=head.malformed,
        )
        for head in group
    )


def _sum(parts: Iterable[Delivery]) -> Delivery:
    totals: Counter[str] = Counter()
    for part in parts:
        totals.update(msgspec.structs.asdict(part))
    return Delivery(**totals)


def _by_device(found: Iterable[Head]) -> dict[str, list[Head]]:
    groups: dict[str, list[Head]] = defaultdict(list)
    for head in found:
        groups[head.device].append(head)
    return groups


def _accuracy(row: TelemetryRow) -> AccuracyPoint:
    return AccuracyPoint(
        device=row.device,
        model=row.model,
        release=row.release,
        phase=row.phase,
        at=row.until,
        labelled=row.labelled,
        correct=row.correct,
    )


def _inference(group: Sequence[TelemetryRow]) -> InferenceView:
    first, figures = group[0], latency(group)
    counts: Counter[str] = Counter()
    dropped_by: Counter[str] = Counter()
    for row in group:
        counts.update(row.counts)
        dropped_by.update(row.dropped_by)
    return InferenceView(
        device=first.device,
        model=first.model,
        pipeline=first.pipeline,
        release=first.release,
        processed=sum(row.processed for row in group),
        errors=sum(row.errors for row in group),
        dropped=sum(row.dropped for row in group),
        labelled=sum(row.labelled for row in group),
        correct=sum(row.correct for row in group),
        p50_ms=figures.p50_ms if figures else None,
        p99_ms=figures.p99_ms if figures else None,
        counts=dict(counts),
        received=sum(row.received for row in group),
        dropped_by=dict(dropped_by),
    )


def _latency_by_model(rows: Sequence[TelemetryRow]) -> dict[str, dict[str, float]]:
    found = {model: latency(row for row in rows if row.model == model) for model in {row.model for row in rows}}
    return {model: figures._asdict() for model, figures in sorted(found.items()) if figures is not None}
