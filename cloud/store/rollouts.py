"""Rollouts, and what each device said about their release."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection, select, update

from cloud.rollout.advance import TERMINAL, Report, Rollout
from cloud.store.rows import UnknownError, columns, many, one
from cloud.store.tables import rollout_devices, rollouts
from shared.messages import Stage, UpdateStatus


class RolloutDevice(msgspec.Struct, frozen=True, kw_only=True):
    """One device in one rollout."""

    rollout: str
    device: str
    wave: int
    stage: str = ""
    """Empty until the device has said anything."""

    reason: str = ""
    offered_at: float | None = None
    active_at: float | None = None
    """When its report of activation was stored here; the device's own clock is not trusted for it."""

    at: float | None = None


class Rollouts:
    """Rollouts in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, rollout: Rollout) -> None:
        """Keep a new rollout with a row for each of its devices."""
        self._connection.execute(rollouts.insert().values(**columns(rollout)))
        for index, wave in enumerate(rollout.waves):
            for device in wave.devices:
                row = RolloutDevice(rollout=rollout.id, device=device, wave=index)
                self._connection.execute(rollout_devices.insert().values(**columns(row)))

    def save(self, rollout: Rollout) -> None:
        """Keep the rollout's new state, and when each of its waves was offered."""
        self._connection.execute(update(rollouts).where(rollouts.c.id == rollout.id).values(**columns(rollout)))
        offered = (rollout_devices.c.rollout == rollout.id, rollout_devices.c.wave <= rollout.wave)
        self._connection.execute(
            update(rollout_devices)
            .where(*offered, rollout_devices.c.offered_at.is_(None))
            .values(offered_at=rollout.opened_at)
        )

    def find(self, rollout: str) -> Rollout | None:
        """The rollout, or None."""
        return one(self._connection, select(rollouts).where(rollouts.c.id == rollout), Rollout)

    def get(self, rollout: str) -> Rollout:
        """The rollout.

        Raises:
            UnknownError: there is none of that name.
        """
        found = self.find(rollout)
        if found is None:
            raise UnknownError(f"no rollout {rollout!r}", hint="`hinterland rollouts` lists them.")
        return found

    def all(self, *, fleet: str | None = None) -> list[Rollout]:
        """Every rollout, oldest first, or those of one fleet."""
        query = select(rollouts).order_by(rollouts.c.created_at, rollouts.c.id)
        return many(self._connection, query if fleet is None else query.where(rollouts.c.fleet == fleet), Rollout)

    def open(self) -> list[Rollout]:
        """Those not yet at a terminal state, oldest first."""
        return [rollout for rollout in self.all() if rollout.state not in TERMINAL]

    def devices(self, rollout: str) -> list[RolloutDevice]:
        """Every device of a rollout by wave and name."""
        query = select(rollout_devices).where(rollout_devices.c.rollout == rollout)
        ordered = query.order_by(rollout_devices.c.wave, rollout_devices.c.device)
        return many(self._connection, ordered, RolloutDevice)

    def reports(self, rollout: str) -> dict[str, Report]:
        """The newest report of each device that has said anything."""
        rows = self.devices(rollout)
        return {row.device: Report(stage=Stage(row.stage), reason=row.reason) for row in rows if row.stage}

    def record(self, device: str, status: UpdateStatus, *, at: float) -> None:
        """Take a device's report into every rollout of that release which asked it."""
        mine = select(rollouts.c.id).where(rollouts.c.release == status.release)
        where = (rollout_devices.c.device == device, rollout_devices.c.rollout.in_(mine))
        values = {"stage": status.stage.value, "reason": status.reason, "at": at}
        self._connection.execute(update(rollout_devices).where(*where).values(**values))
        if status.stage is Stage.ACTIVE:
            first = rollout_devices.c.active_at.is_(None)
            self._connection.execute(update(rollout_devices).where(*where, first).values(active_at=at))
