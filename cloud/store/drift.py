"""Drift reports as they came, what has been made of them, and the scores people see."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection, select, update

from cloud.drift.detect import DriftState
from cloud.store.rows import columns, many, one
from cloud.store.tables import drift_reports, drift_scores, drift_states


class DriftRow(msgspec.Struct, frozen=True, kw_only=True):
    """One report; `body` is a packed `shared.messages.DriftReport`."""

    id: int
    device: str
    model: str
    release: str
    reference: bool
    until: float
    body: bytes
    received_at: float


class DriftScoreRow(msgspec.Struct, frozen=True, kw_only=True):
    """What one report came to."""

    report: int
    device: str
    model: str
    release: str
    score: float
    count: int
    """Inputs it rests on."""

    feature: str
    """The one that moved most."""

    alarm: bool
    """Whether the device was in alarm after it."""

    at: float


class _StateRow(msgspec.Struct, frozen=True, kw_only=True):
    state: bytes


class DriftStore:
    """Drift in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def reports(self, *, after: int, limit: int = 200) -> list[DriftRow]:
        """Reports with an id above `after`, oldest first."""
        query = select(drift_reports).where(drift_reports.c.id > after)
        return many(self._connection, query.order_by(drift_reports.c.id).limit(limit), DriftRow)

    def state(self, device: str, model: str, release: str) -> DriftState:
        """What the detector remembers; empty when that is nothing."""
        t = drift_states.c
        query = select(t.state).where(t.device == device, t.model == model, t.release == release)
        row = one(self._connection, query, _StateRow)
        return _decode(row.state) if row else DriftState(device=device, model=model, release=release)

    def states(self, *, model: str | None = None, drifted: bool | None = None) -> list[DriftState]:
        """States by model, device and release; of one model line, or only those in alarm or not."""
        t = drift_states.c
        query = select(t.state).order_by(t.model, t.device, t.release)
        if model is not None:
            query = query.where(t.model == model)
        if drifted is not None:
            query = query.where(t.drifted.is_(drifted))
        return [_decode(row.state) for row in many(self._connection, query, _StateRow)]

    def put_state(self, state: DriftState, *, at: float) -> None:
        """Insert or replace a state."""
        t = drift_states.c
        where = (t.device == state.device, t.model == state.model, t.release == state.release)
        values = {"state": msgspec.msgpack.encode(state), "drifted": state.drifted, "at": at}
        if self._connection.execute(update(drift_states).where(*where).values(**values)).rowcount == 0:
            key = {"device": state.device, "model": state.model, "release": state.release}
            self._connection.execute(drift_states.insert().values(key | values))

    def add_score(self, row: DriftScoreRow) -> None:
        self._connection.execute(drift_scores.insert().values(**columns(row)))

    def scores(self, *, device: str | None = None) -> list[DriftScoreRow]:
        """Every score, oldest first, or those of one device."""
        query = select(drift_scores).order_by(drift_scores.c.report)
        return many(
            self._connection, query if device is None else query.where(drift_scores.c.device == device), DriftScoreRow
        )


def _decode(data: bytes) -> DriftState:
    return msgspec.msgpack.decode(data, type=DriftState)
