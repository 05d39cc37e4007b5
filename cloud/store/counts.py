"""How many there are of what, for metrics: sums that the database makes, never a row a device."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from sqlalchemy import Connection, case, exists, func, select

from cloud.rollout.state import TERMINAL
from cloud.store.job_tables import jobs
from cloud.store.quarantine_tables import quarantine, strikes
from cloud.store.rollout_tables import rollout_devices, rollouts
from cloud.store.tables import devices, drift_states, inbox_heads, releases, runs

Counts = dict[tuple[str, ...], int]
"""Labels → how many."""


class Received(NamedTuple):
    """Records of devices, over all replicas, since their outboxes were made."""

    stored: int
    resent: int
    dropped: int
    malformed: int


def devices_by_health(connection: Connection, *, silent_before: float) -> Counts:
    """(Fleet, health) → devices; a device counts once, under the first of these that holds."""
    out = exists().where(quarantine.c.device == devices.c.id, quarantine.c.released_at.is_(None))
    drifted = exists().where(drift_states.c.device == devices.c.id, drift_states.c.drifted.is_(True))
    health = case(
        (devices.c.state == "revoked", "revoked"),
        (devices.c.alarm != "", "cloned"),
        (devices.c.last_seen < silent_before, "silent"),
        (out, "quarantined"),
        (drifted, "drifted"),
        else_="ok",
    ).label("health")
    return _counted(connection, select(devices.c.fleet, health, func.count()).group_by(devices.c.fleet, health))


def by_state(connection: Connection, table: str) -> Counts:
    """(State,) → how many; of jobs (kind, state)."""
    match table:
        case "runs":
            query = select(runs.c.state, func.count()).group_by(runs.c.state)
        case "rollouts":
            query = select(rollouts.c.state, func.count()).group_by(rollouts.c.state)
        case "jobs":
            query = select(jobs.c.kind, jobs.c.state, func.count()).group_by(jobs.c.kind, jobs.c.state)
        case "releases":
            out = case((releases.c.published_at.is_(None), "waiting"), else_="published").label("state")
            query = select(out, func.count()).group_by(out)
        case _:
            raise ValueError(table)
    return _counted(connection, query)


def rollout_progress(connection: Connection) -> Counts:
    """(Model, fleet, wave, stage) → devices, of rollouts that are under way; who was not heard of is `waiting`."""
    under_way = rollouts.c.state.not_in([state.value for state in TERMINAL])
    stage = case((rollout_devices.c.stage == "", "waiting"), else_=rollout_devices.c.stage).label("stage")
    named = (rollouts.c.model, rollouts.c.fleet, rollout_devices.c.wave, stage)
    joined = rollout_devices.join(rollouts, rollouts.c.id == rollout_devices.c.rollout)
    query = select(*named, func.count()).select_from(joined).where(under_way).group_by(*named)
    return _counted(connection, query)


def rollout_waves(connection: Connection) -> Counts:
    """(Model, fleet) → wave that is at work, from 0, of rollouts that are under way."""
    under_way = rollouts.c.state.not_in([state.value for state in TERMINAL])
    return _counted(connection, select(rollouts.c.model, rollouts.c.fleet, rollouts.c.wave).where(under_way))


def received(connection: Connection) -> Received:
    """Sums over all outboxes."""
    columns = (inbox_heads.c.stored, inbox_heads.c.resent, inbox_heads.c.dropped, inbox_heads.c.malformed)
    row = connection.execute(select(*(func.coalesce(func.sum(column), 0) for column in columns))).one()
    return Received(*(int(value) for value in row))


def open_strikes(connection: Connection) -> int:
    """Refused client updates that count against their devices."""
    return int(connection.scalar(select(func.count()).where(strikes.c.forgiven_at.is_(None))) or 0)


def _counted(connection: Connection, query: Any) -> Counts:
    rows: Iterable[Any] = connection.execute(query)
    return {tuple(str(label) for label in labels): int(count) for *labels, count in rows}
