"""Rollouts with what each device said."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection

from cloud.rollout.state import Rollout as RolloutValue
from cloud.store.rollouts import Rollouts
from shared.api import Rollout, RolloutDevice


def rollout_view(connection: Connection, value: RolloutValue) -> Rollout:
    """One rollout."""
    devices = Rollouts(connection).devices(value.id)
    return Rollout(
        id=value.id,
        fleet=value.fleet,
        model=value.model,
        release=value.release,
        previous=value.previous,
        fallback=value.fallback,
        state=value.state.value,
        wave=value.wave,
        waves=[list(wave.devices) for wave in value.waves],
        reason=value.reason,
        created_at=value.created_at,
        opened_at=value.opened_at,
        complete_at=value.complete_at,
        finished_at=value.finished_at,
        devices=[msgspec.convert(row, RolloutDevice, from_attributes=True) for row in devices],
    )
