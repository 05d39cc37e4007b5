"""Let rollouts advance, and sign what each fleet should run."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
from sqlalchemy import Connection

from cloud.audit.log import AuditLog
from cloud.loop.orders import order_release
from cloud.release.repository import Repository
from cloud.rollout.advance import Action, Complete, Finish, Halt, Open, Rollout, advance, apply
from cloud.rollout.desired import desired
from cloud.store.database import Database
from cloud.store.devices import Devices
from cloud.store.events import Events
from cloud.store.releases import Releases
from cloud.store.rollouts import Rollouts
from shared.bundle import FleetDesired, Release
from shared.clock import Clock
from shared.ids import release_id

ACTOR = "coordinator"


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutKeeper:
    """One turn of every open rollout."""

    database: Database
    repository: Repository
    clock: Clock

    def turn(self) -> None:
        """Advance each rollout in a transaction of its own; what devices see follows with `sign`."""
        with self.database.read() as connection:
            open_rollouts = [rollout.id for rollout in Rollouts(connection).open()]
        for name in open_rollouts:
            with self.database.write() as connection:
                self._advance(connection, Rollouts(connection).get(name))

    def sign(self) -> None:
        """Make each fleet's signed state say what its rollouts say.

        The state is a function of the database, so a crash between the two costs one turn. A release that is not
        signed yet holds its fleet back until the next turn.

        Raises:
            HinterlandError: a key or the disk failed; the next turn tries again.
        """
        published = set(self.repository.releases())
        for fleet in self.repository.fleets():
            with self.database.read() as connection:
                wanted = desired(fleet, Rollouts(connection).all(fleet=fleet))
            if named(wanted) <= published and wanted != self.repository.desired(fleet):
                self._sign(wanted)

    def _advance(self, connection: Connection, rollout: Rollout) -> None:
        release = Releases(connection).get(rollout.release)
        if release.published_at is None:
            return
        at = self.clock.now()
        enrolled = {device.id for device in Devices(connection).enrolled(fleet=rollout.fleet)}
        excused = {device for wave in rollout.waves for device in wave.devices} - enrolled
        for action in advance(rollout, Rollouts(connection).reports(rollout.id), at=at, excused=excused):
            before, rollout = rollout, apply(rollout, action, at=at)
            if isinstance(action, Halt):
                rollout = self._fall_back(connection, rollout, at=at)
            Rollouts(connection).save(rollout)
            _tell(connection, rollout, action, before=before, at=at)

    def _fall_back(self, connection: Connection, rollout: Rollout, *, at: float) -> Rollout:
        """Give the devices that were asked the former bytes under a counter that they accept."""
        if not rollout.previous:
            return rollout
        former = Releases(connection).get(rollout.previous).document()
        counter = Releases(connection).next_counter(rollout.model)
        again: Release = msgspec.structs.replace(
            former, id=release_id(rollout.model, counter), counter=counter, created=at
        )
        order_release(
            connection, again, at=at, by=ACTOR, reason=f"brings {former.id} back: {rollout.reason}", replaces=former.id
        )
        return msgspec.structs.replace(rollout, fallback=again.id)

    def _sign(self, wanted: FleetDesired) -> None:
        before = self.repository.desired(wanted.fleet)
        self.repository.set_desired(wanted)
        with self.database.write() as connection:
            AuditLog(connection).add(
                at=self.clock.now(),
                actor=ACTOR,
                action="fleet.sign",
                subject=wanted.fleet,
                before=msgspec.to_builtins(before),
                after=msgspec.to_builtins(wanted),
            )


def named(wanted: FleetDesired) -> set[str]:
    """Every release that a desired state asks for."""
    entries = [wanted.default, *wanted.devices.values()]
    return {release for entry in entries for release in entry.values() if release}


def _tell(connection: Connection, rollout: Rollout, action: Action, *, before: Rollout, at: float) -> None:
    match action:
        case Open(wave):
            names = list(rollout.waves[wave].devices)
            kind, text = "rollout.wave", f"{rollout.release} goes to {', '.join(names)}"
            data = {"wave": wave, "devices": names}
        case Complete(wave):
            kind, text, data = "rollout.soak", f"wave {wave} of {rollout.id} serves", {"wave": wave}
        case Finish():
            kind, text, data = "rollout.done", f"{rollout.fleet} runs {rollout.release}", {}
        case Halt(reason):
            kind, text = "rollout.halted", f"{rollout.id} is halted: {reason}"
            data = {"reason": reason, "fallback": rollout.fallback}
    Events(connection).add(kind, rollout.id, text, at=at, **data)
    AuditLog(connection).add(
        at=at,
        actor=ACTOR,
        action=kind,
        subject=rollout.id,
        reason=text,
        before={"state": before.state.value, "wave": before.wave},
        after={"state": rollout.state.value} | data,
    )
