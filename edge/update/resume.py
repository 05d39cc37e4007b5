"""After a start: serve the best whole slot of each model, and settle what the last process left unfinished."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

import msgspec

from edge.update.course import reason_of, say
from edge.update.journal import Entry
from edge.update.machine import TERMINAL, Event, step
from edge.update.parts import Parts
from edge.update.plan import MAX_TRIALS, left_alone
from edge.update.slots import Slots
from shared.errors import FaultError, HinterlandError, TrustError
from shared.faultpoints import here
from shared.messages import Stage, UpdateStatus
from shared.trust import SlotFact

log = logging.getLogger(__name__)

MAX_STARTS = 3
"""Starts that ended while a slot was being loaded, after which the other slot is taken; and starts within
`edge.update.shadowing.STEADY_S` of a shadow, after which that is ended."""


class BootLoopError(FaultError):
    """A release ended the agent again and again."""


@dataclass(frozen=True, slots=True)
class _Chosen:
    slot: str
    fact: SlotFact


class Resumption:
    """One model line's return to service."""

    def __init__(self, parts: Parts, model: str) -> None:
        self._parts = parts
        self._model = model
        self._slots = Slots(parts.models, model)
        self._bad: dict[str, HinterlandError] = {}
        self._skipped: list[str] = []

    async def run(self) -> str:
        """Return the release that serves now; empty in safe mode, where nothing does."""
        pointer = await asyncio.to_thread(self._slots.active)
        chosen = await self._choose(pointer)
        await self._settle(chosen, pointer)
        if chosen is not None and chosen.slot != pointer:
            await self._point_to(chosen.slot)
        await self._tell(chosen)
        return chosen.fact.release.id if chosen else ""

    async def _choose(self, pointer: str | None) -> _Chosen | None:
        entry = self._parts.journal.entry(self._model)
        slots = await asyncio.to_thread(self._slots.candidates)
        if pointer is None and entry is not None:
            slots.sort(key=lambda slot: slot != entry.slot)  # the pointer is damaged: the journal knows better
        for slot in slots:
            if entry is not None and entry.slot == slot and _no_refuge(entry, pointed=slot == pointer):
                self._skipped += [f"slot {slot}: {entry.release} is {entry.stage}"] if slot == pointer else []
                continue
            try:
                return _Chosen(slot, await self._serve(slot, entry, pointed=slot == pointer))
            except HinterlandError as error:
                self._bad[slot] = error
            except Exception as error:  # whatever a model makes a library raise
                log.exception("slot %s of %s does not serve", slot, self._model)
                self._bad[slot] = FaultError(f"{type(error).__name__}: {error}")
        return None

    async def _serve(self, slot: str, entry: Entry | None, *, pointed: bool) -> SlotFact:
        keys = await self._parts.trust.model_keys()
        fact = await asyncio.to_thread(self._slots.inspect, slot, keys=keys)
        if left_alone(fact.release.id, entry):
            raise FaultError(f"{fact.release.id} failed here before")
        if not pointed and not self._parts.trust.has_run(fact.release):
            raise FaultError(f"{fact.release.id} was staged, and never served")
        mine = entry is not None and (entry.release, entry.slot) == (fact.release.id, slot)
        field = "starts" if mine else "serving_starts" if entry is not None and pointed else ""
        starts = getattr(entry, field) if field else 0
        if starts >= MAX_STARTS:
            raise BootLoopError(f"{fact.release.id} ended the agent {starts} times while it was loaded")
        await self._note_starts(field, starts + 1)
        here("start.loading")
        try:
            await self._parts.serving.activate(self._model, fact.release, fact.variant, fact.path)
        except TrustError:  # the bytes were altered: they ended nothing, and were never loaded
            await self._note_starts(field, starts)
            raise
        here("start.served")
        await self._note_starts(field, 0)
        return fact

    async def _note_starts(self, field: str, starts: int) -> None:
        entry = self._parts.journal.entry(self._model)
        if entry is not None and field and getattr(entry, field) != starts:
            await self._write(msgspec.structs.replace(entry, **{field: starts}))

    async def _settle(self, chosen: _Chosen | None, pointer: str | None) -> None:
        """Give an unfinished update the event that ends or restarts it, and a release that cannot serve its due."""
        entry = self._parts.journal.entry(self._model)
        if entry is None:
            return
        if entry.stage is Stage.ACTIVE and entry.slot in self._bad:
            await self._relapse(entry, stranded=chosen is None)
        elif entry.stage is Stage.ACTIVE and chosen is not None and chosen.slot == pointer != entry.slot:
            await self._displaced(entry)
        elif entry.stage is Stage.ROLLED_BACK and entry.slot == pointer and chosen is None:
            await self._strand(entry)
        elif entry.stage is Stage.SHADOW:
            await self._shadowed(entry)
        elif entry.stage not in TERMINAL:
            await self._rebooted(entry, committed=chosen is not None and chosen.slot == pointer == entry.slot)

    async def _relapse(self, entry: Entry, *, stranded: bool) -> None:
        error = self._bad[entry.slot]
        trials = 0 if isinstance(error, TrustError) else entry.trials + 1  # altered bytes are no fault of the release
        if isinstance(error, BootLoopError) and not stranded:
            trials = MAX_TRIALS
        stage = step(entry.stage, Event.RELAPSED)
        relapsed = msgspec.structs.replace(entry, stage=stage, reason=reason_of(error), trials=trials)
        await self._write(relapsed)
        if stranded:
            await self._strand(relapsed)

    async def _displaced(self, entry: Entry) -> None:
        """It was rolled back, and the disk did not take the note: the pointer knows better."""
        reason = f"slot {entry.slot} gave way to the other one"
        stage = step(entry.stage, Event.RELAPSED)
        await self._write(msgspec.structs.replace(entry, stage=stage, reason=reason, trials=entry.trials + 1))

    async def _strand(self, entry: Entry) -> None:
        """Safe mode."""
        await self._write(msgspec.structs.replace(entry, stage=step(entry.stage, Event.STRANDED)))

    async def _shadowed(self, entry: Entry) -> None:
        """The challenger is loaded again once what serves does so."""
        if entry.starts < MAX_STARTS:
            stage = step(entry.stage, Event.REBOOTED)
            await self._write(msgspec.structs.replace(entry, stage=stage, starts=entry.starts + 1))
            return
        reason = f"the agent started {entry.starts} times within a minute of its shadow"
        stage = step(entry.stage, Event.BROKE)
        await self._write(
            msgspec.structs.replace(entry, stage=stage, reason=reason, challenge=None, failures=entry.failures + 1)
        )
        await self._say(stage, release=entry.release, slot=entry.slot, reason=reason)

    async def _rebooted(self, entry: Entry, *, committed: bool) -> None:
        event = Event.COMMITTED if committed and entry.stage is Stage.TRIAL else Event.REBOOTED
        reason = "" if event is Event.COMMITTED else f"the agent restarted while it was {entry.stage}"
        entry = msgspec.structs.replace(entry, stage=step(entry.stage, event), reason=reason)
        await self._write(entry)
        if entry.stage is Stage.ROLLED_BACK:
            await self._say(entry.stage, release=entry.release, slot=entry.slot, reason=reason)

    async def _point_to(self, slot: str) -> None:
        """It serves already: a disk that does not take the pointer has the next start choose again."""
        try:
            await asyncio.to_thread(self._slots.commit, slot)
        except FaultError as error:
            log.error("slot %s of %s serves, but that was not written down: %s", slot, self._model, error)  # noqa: TRY400 - expected kind of error

    async def _write(self, entry: Entry) -> None:
        """A disk that takes no journal must not keep a whole slot from serving."""
        try:
            await asyncio.to_thread(self._parts.journal.write, self._model, entry)
        except FaultError as error:
            self._parts.journal.hold(self._model, entry)
            log.error("the journal of %s was not written: %s", self._model, error)  # noqa: TRY400 - expected kind of error

    async def _tell(self, chosen: _Chosen | None) -> None:
        if self._bad or (self._skipped and chosen is None):
            entry = self._parts.journal.entry(self._model)
            stage = Stage.ROLLED_BACK if chosen else Stage.FAILED
            release = entry.release if entry else ""
            bad = [f"slot {slot}: {reason_of(error)}" for slot, error in self._bad.items()]
            await self._say(stage, release=release, reason="; ".join(self._skipped + bad))
        if chosen:
            await self._say(Stage.ACTIVE, release=chosen.fact.release.id, slot=chosen.slot, fact=chosen.fact)

    async def _say(
        self, stage: Stage, *, release: str, slot: str = "", reason: str = "", fact: SlotFact | None = None
    ) -> None:
        size = fact.variant.size if fact else 0
        status = UpdateStatus(
            model=self._model,
            release=release,
            stage=stage,
            slot=slot,
            variant=fact.variant.name if fact else "",
            reason=reason[:500],
            received=size,
            total=size,
            at=self._parts.clock.now(),
        )
        await say(self._parts.report, status)


def _no_refuge(entry: Entry, *, pointed: bool) -> bool:
    """Whether the slot of `entry` holds what was rolled back or, unless the pointer names it, was never committed."""
    return entry.stage is Stage.ROLLED_BACK or (not pointed and entry.stage is not Stage.ACTIVE)
