"""Let rollouts advance, and sign what each fleet should run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Connection

from cloud.audit.log import AuditLog
from cloud.loop.orders import order_release
from cloud.release.repository import Repository
from cloud.rollout.advance import View, advance
from cloud.rollout.desired import desired, signable
from cloud.rollout.gates import explain
from cloud.rollout.operate import admit
from cloud.rollout.state import (
    Action,
    Ask,
    Complete,
    Finish,
    Halt,
    Open,
    Rollout,
    RolloutState,
    Shadow,
    apply,
)
from cloud.rollout.target import matching, place
from cloud.store.database import Database
from cloud.store.devices import Devices
from cloud.store.events import Events
from cloud.store.masks import Masks
from cloud.store.releases import Releases
from cloud.store.rollouts import Rollouts
from cloud.store.shadows import Shadows
from shared.bundle import FleetDesired, Release
from shared.clock import Clock
from shared.ids import release_id

ACTOR = "coordinator"

FEW = 20
"""Devices that a sentence names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What a look at a rollout found."""

    rollout: Rollout
    """As stored."""

    grown: Rollout
    """With the devices that came late."""

    actions: tuple[Action, ...] = ()
    at: float

    @property
    def due(self) -> bool:
        """Whether there is anything to write."""
        return bool(self.actions) or self.grown != self.rollout


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutKeeper:
    """One turn of every open rollout."""

    database: Database
    repository: Repository
    clock: Clock
    approved: Callable[[Connection, Rollout], bool] = lambda _connection, rollout: not rollout.spec.approvals
    """Whether enough people have agreed to a rollout."""

    def turn(self) -> None:
        """Advance each rollout in a transaction of its own; what devices see follows with `sign`."""
        with self.database.read() as connection:
            due = [name for name in Rollouts(connection).open() if self._look(connection, name).due]
        for name in due:
            with self.database.write() as connection:
                self._advance(connection, self._look(connection, name))

    def sign(self) -> None:
        """Make each fleet's signed state say what its rollouts and its privacy masks say.

        The state is a function of the database, so a crash between the two costs one turn. Who is to have a release
        that is not signed yet keeps until then what was signed before.

        Raises:
            HinterlandError: a key or the disk failed; the next turn tries again.
        """
        published = set(self.repository.releases())
        for fleet in self.repository.fleets():
            with self.database.read() as connection:
                wanted = desired(fleet, Rollouts(connection).all(fleet=fleet))
                masks = Masks(connection).of(fleet).signed
            held = self.repository.desired(fleet)
            wanted = msgspec.structs.replace(signable(wanted, held=held, published=published), masks=masks)
            if wanted != held:
                self._sign(wanted, held=held)

    def _look(self, connection: Connection, name: str) -> Outlook:
        """What is to be done; most turns find nothing, and must not keep reports waiting for the writers' lock."""
        rollout, at = Rollouts(connection).get(name), self.clock.now()
        labels = Devices(connection).labels(fleet=rollout.fleet)
        grown = admit(rollout, matching(rollout.spec.target, labels))
        actions = advance(grown, self._view(connection, grown, labels), at=at)
        return Outlook(rollout=rollout, grown=grown, actions=tuple(actions), at=at)

    def _advance(self, connection: Connection, outlook: Outlook) -> None:
        """Do all of it in one transaction; what is kept in between would be seen by nobody."""
        store, rollout, at = Rollouts(connection), outlook.grown, outlook.at
        for action in outlook.actions:
            before, rollout = rollout, apply(rollout, action, at=at)
            if isinstance(action, Halt):
                rollout = fall_back(connection, rollout, at=at, by=ACTOR)
            if isinstance(action, Ask):
                store.ask(rollout.id, action.devices, at=at)
            _tell(connection, rollout, action, before=before, at=at)
        store.save(rollout, before=outlook.rollout)

    def _view(self, connection: Connection, rollout: Rollout, labels: Mapping[str, Mapping[str, str]]) -> View:
        """What is known of the rollout's devices."""
        spec = rollout.spec
        places = {name: place(spec.budget, name, said) for name, said in labels.items()}
        stay = {*matching(spec.target, labels), *(labels.keys() & set(rollout.asked))}
        compared = rollout.state is RolloutState.SHADOWING
        return View(
            reports=Rollouts(connection).reports(rollout.id),
            evidence={rollout.wave: Shadows(connection).wave(rollout.id, rollout.wave)} if compared else {},
            excused={device for wave in rollout.waves for device in wave.devices} - stay,
            places=places,
            members=Counter(places.values()),
            approved=self.approved(connection, rollout),
            published=Releases(connection).get(rollout.release).published_at is not None,
        )

    def _sign(self, wanted: FleetDesired, *, held: FleetDesired) -> None:
        self.repository.set_desired(wanted)
        old, new = difference(held, wanted)
        with self.database.write() as connection:
            AuditLog(connection).add(
                at=self.clock.now(), actor=ACTOR, action="fleet.sign", subject=wanted.fleet, before=old, after=new
            )


def difference(before: FleetDesired, after: FleetDesired) -> tuple[dict[str, Any], dict[str, Any]]:
    """The entries of both that are not the same in the other, so that ten thousand devices are not logged for one."""
    old, new = msgspec.to_builtins(before), msgspec.to_builtins(after)
    return _without(old, new), _without(new, old)


def _without(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    maps = {key: value for key, value in one.items() if isinstance(value, dict)}
    return {key: {n: v for n, v in value.items() if other[key].get(n) != v} for key, value in maps.items()}


def fall_back(connection: Connection, rollout: Rollout, *, at: float, by: str) -> Rollout:
    """Give the devices that were asked the former bytes under a counter that they accept."""
    if not rollout.previous or not rollout.asked:
        return rollout
    former = Releases(connection).get(rollout.previous).document()
    counter = Releases(connection).next_counter(rollout.model)
    again: Release = msgspec.structs.replace(former, id=release_id(rollout.model, counter), counter=counter, created=at)
    order_release(
        connection, again, at=at, by=by, reason=f"brings {former.id} back: {rollout.reason}", replaces=former.id
    )
    return msgspec.structs.replace(rollout, fallback=again.id)


def _tell(connection: Connection, rollout: Rollout, action: Action, *, before: Rollout, at: float) -> None:
    kind, text, data = _told(rollout, action)
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


def _told(rollout: Rollout, action: Action) -> tuple[str, str, dict[str, Any]]:
    """Kind, words and figures of an action for timeline and audit log."""
    match action:
        case Shadow(wave):
            names = list(rollout.waves[wave].devices)
            text = f"{rollout.release} runs in the shadow on {_names(names)}"
            return "rollout.shadow", text, {"wave": wave, "devices": names}
        case Open(wave, proofs):
            proven = "; ".join(explain(proof) for proof in proofs)
            text = f"wave {wave} of {rollout.id} opens" + (f": {proven}" if proven else "")
            return "rollout.open", text, {"wave": wave, "proofs": msgspec.to_builtins(proofs)}
        case Ask(devices):
            data = {"wave": rollout.wave, "devices": list(devices)}
            return "rollout.wave", f"{rollout.release} goes to {_names(devices)}", data
        case Complete(wave):
            return "rollout.soak", f"wave {wave} of {rollout.id} serves", {"wave": wave}
        case Finish():
            return "rollout.done", f"{rollout.fleet} runs {rollout.release}", {}
        case Halt(reason, proofs):
            data = {"reason": reason, "fallback": rollout.fallback, "proofs": msgspec.to_builtins(proofs)}
            return "rollout.halted", f"{rollout.id} is halted: {reason}", data


def _names(devices: Sequence[str]) -> str:
    """A few of them."""
    more = len(devices) - FEW
    return ", ".join(devices[:FEW]) + (f" and {more} more" if more > 0 else "")
