"""Telemetry windows as they were reported."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection, func, select

from cloud.store.rows import many
from cloud.store.tables import telemetry


class TelemetryRow(msgspec.Struct, frozen=True, kw_only=True):
    """One reporting window of one pipeline; the fields are those of `shared.messages.Telemetry`, whose stalls are
    events of the timeline.
    """

    id: int
    device: str
    pipeline: str
    model: str
    release: str
    phase: str
    since: float
    until: float
    processed: int
    errors: int
    dropped: int
    labelled: int
    correct: int
    labels_held: int
    latency_ms: bytes
    counts: dict[str, int]
    received: int
    dropped_by: dict[str, int]


def telemetry_rows(connection: Connection, *, device: str | None = None, after: int = 0) -> list[TelemetryRow]:
    """Windows in order of arrival, of every device or of one, with an id above `after`."""
    query = select(telemetry).where(telemetry.c.id > after).order_by(telemetry.c.id)
    return many(connection, query if device is None else query.where(telemetry.c.device == device), TelemetryRow)


def labels_held(connection: Connection, model: str) -> dict[str, int]:
    """Device → labelled live examples it holds for training, from its newest window."""
    newest = (
        select(func.max(telemetry.c.id))
        .where(telemetry.c.model == model)
        .group_by(telemetry.c.device, telemetry.c.pipeline)
    )
    held: dict[str, int] = {}
    for device, count in connection.execute(
        select(telemetry.c.device, telemetry.c.labels_held).where(telemetry.c.id.in_(newest))
    ):
        held[device] = max(held.get(device, 0), int(count))
    return held
