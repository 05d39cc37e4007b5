"""Rollouts, and what each device said about their release."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from sqlalchemy import Connection, bindparam, func, select, update

from cloud.rollout.advance import Report
from cloud.rollout.state import BAD, TERMINAL, Rollout
from cloud.store.rows import UnknownError, batched, columns, many, one, write_all
from cloud.store.tables import device_status, rollout_devices, rollouts
from shared.messages import Stage, UpdateStatus

_OLDEST = (rollouts.c.created_at, rollouts.c.id)


_SAID = update(rollout_devices).where(  # built once, see `cloud.store.inbox`
    rollout_devices.c.device == bindparam("of_device"),
    rollout_devices.c.rollout.in_(select(rollouts.c.id).where(rollouts.c.release == bindparam("of_release"))),
)
_FIRST_ACTIVE = _SAID.where(rollout_devices.c.active_at.is_(None))


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
        self._place(rollout, known={})

    def save(self, rollout: Rollout, *, before: Rollout | None = None) -> None:
        """Keep the rollout's new state, and the waves of devices whose place in it is new.

        Args:
            rollout: as it is now.
            before: as it is stored; read again if it is not given.
        """
        before = before or self.get(rollout.id)
        changed = {
            name: value for name, value in columns(rollout).items() if getattr(before, name) != getattr(rollout, name)
        }
        self._connection.execute(update(rollouts).where(rollouts.c.id == rollout.id).values(**changed))
        if before.waves != rollout.waves:
            query = select(rollout_devices.c.device, rollout_devices.c.wave)
            rows = self._connection.execute(query.where(rollout_devices.c.rollout == rollout.id))
            self._place(rollout, known={row.device: row.wave for row in rows})

    def ask(self, rollout: str, devices: Sequence[str], *, at: float) -> None:
        """Note when devices were asked to let the release serve."""
        first = rollout_devices.c.offered_at.is_(None)
        for some in batched(devices):
            where = (rollout_devices.c.rollout == rollout, rollout_devices.c.device.in_(some))
            self._connection.execute(update(rollout_devices).where(*where, first).values(offered_at=at))

    def postpone(self, rollout: str, *, by: float) -> None:
        """Move the moments of asking on by the seconds of a pause, so that it counts against no deadline."""
        where = (rollout_devices.c.rollout == rollout, rollout_devices.c.offered_at.is_not(None))
        later = rollout_devices.c.offered_at + by
        self._connection.execute(update(rollout_devices).where(*where).values(offered_at=later))

    def _place(self, rollout: Rollout, *, known: Mapping[str, int]) -> None:
        """Make the rows say in which wave each device is."""
        places = {device: index for index, wave in enumerate(rollout.waves) for device in wave.devices}
        fresh = [device for device in places if device not in known]
        serving = self._serving(rollout.model, rollout.release)
        rows = [
            RolloutDevice(
                rollout=rollout.id,
                device=device,
                wave=places[device],
                stage=Stage.ACTIVE.value if device in serving else "",  # it will not say again what it said before
            )
            for device in fresh
        ]
        if rows:
            self._connection.execute(rollout_devices.insert(), [columns(row) for row in rows])
        for device, wave in known.items():
            where = (rollout_devices.c.rollout == rollout.id, rollout_devices.c.device == device)
            if device not in places:
                self._connection.execute(rollout_devices.delete().where(*where))
            elif places[device] != wave:
                self._connection.execute(update(rollout_devices).where(*where).values(wave=places[device]))

    def _serving(self, model: str, release: str) -> set[str]:
        query = select(device_status.c.device).where(device_status.c.model == model, device_status.c.serving == release)
        return set(self._connection.scalars(query))

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
        query = select(rollouts).order_by(*_OLDEST)
        return many(self._connection, query if fleet is None else query.where(rollouts.c.fleet == fleet), Rollout)

    def open(self) -> list[str]:
        """Names of those not yet at a terminal state, oldest first."""
        under_way = rollouts.c.state.not_in([state.value for state in TERMINAL])
        return list(self._connection.scalars(select(rollouts.c.id).where(under_way).order_by(*_OLDEST)))

    def devices(self, rollout: str) -> list[RolloutDevice]:
        """Every device of a rollout by wave and name."""
        query = select(rollout_devices).where(rollout_devices.c.rollout == rollout)
        ordered = query.order_by(rollout_devices.c.wave, rollout_devices.c.device)
        return many(self._connection, ordered, RolloutDevice)

    def page(self, rollout: str, *, after: str = "", limit: int, bad: bool = False) -> list[RolloutDevice]:
        """Devices of a rollout whose names come after `after`, by name; only those that failed if `bad`."""
        query = select(rollout_devices).where(rollout_devices.c.rollout == rollout, rollout_devices.c.device > after)
        if bad:
            query = query.where(rollout_devices.c.stage.in_([stage.value for stage in BAD]))
        return many(self._connection, query.order_by(rollout_devices.c.device).limit(limit), RolloutDevice)

    def place(self, rollout: str, device: str) -> RolloutDevice | None:
        """One device in a rollout, or None."""
        where = (rollout_devices.c.rollout == rollout, rollout_devices.c.device == device)
        return one(self._connection, select(rollout_devices).where(*where), RolloutDevice)

    def reports(self, rollout: str) -> dict[str, Report]:
        """The newest report of each device that has said anything or was asked."""
        named = (rollout_devices.c.device, rollout_devices.c.stage, rollout_devices.c.reason)
        query = select(*named, rollout_devices.c.offered_at).where(rollout_devices.c.rollout == rollout)
        return {
            device: Report(stage=Stage(stage) if stage else None, reason=reason, asked_at=asked_at)
            for device, stage, reason, asked_at in self._connection.execute(query)
            if stage or asked_at is not None
        }

    def progress(self, rollout: str) -> dict[tuple[int, Stage], int]:
        """(Wave, stage) → devices of the wave that said so last."""
        named = (rollout_devices.c.wave, rollout_devices.c.stage)
        query = select(*named, func.count()).where(rollout_devices.c.rollout == rollout, rollout_devices.c.stage != "")
        return {(wave, Stage(stage)): count for wave, stage, count in self._connection.execute(query.group_by(*named))}

    def record(self, said: Sequence[tuple[str, UpdateStatus]], *, at: float) -> None:
        """Take devices' reports, in their order, into every rollout of those releases which has them in a wave."""
        rows = [
            {"of_device": device, "of_release": status.release, "stage": status.stage.value, "reason": status.reason}
            for device, status in said
        ]
        active = [row for row in rows if row["stage"] == Stage.ACTIVE.value]
        mine = [{name: row[name] for name in ("of_device", "of_release")} | {"active_at": at} for row in active]
        write_all(self._connection, _SAID, [row | {"at": at} for row in rows])
        write_all(self._connection, _FIRST_ACTIVE, mine)
