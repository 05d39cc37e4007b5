"""Drift over time."""

from __future__ import annotations

from collections.abc import Collection

import msgspec
from sqlalchemy import Connection

from cloud.models.line import line_from
from cloud.store.drift import DriftStore
from cloud.store.lines import Lines
from cloud.store.reports import statuses
from shared.api import Drift, DriftScore


def drift_view(connection: Connection, *, device: str | None = None, only: Collection[str] | None = None) -> Drift:
    """Scores of all devices, or of one, and who is in alarm on the release it runs; of `only` these devices."""
    store = DriftStore(connection)
    serving = {(status.device, status.model): status.serving for status in statuses(connection)}
    alarms: dict[str, list[str]] = {}
    for state in store.states(drifted=True):
        if serving.get((state.device, state.model)) == state.release and (only is None or state.device in only):
            alarms.setdefault(state.model, []).append(state.device)
    return Drift(
        scores=[
            msgspec.convert(row, DriftScore, from_attributes=True)
            for row in store.scores(device=device)
            if only is None or row.device in only
        ],
        alarms=alarms,
        thresholds={row.name: line_from(row.document).watch.threshold for row in Lines(connection).all()},
    )
