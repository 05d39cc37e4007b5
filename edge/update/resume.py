"""After a start: serve the best whole slot of each model, and settle what the last process left unfinished."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

import msgspec

from edge.update.attempt import Parts, reason_of, say
from edge.update.journal import Entry
from edge.update.machine import TERMINAL, Event, step
from edge.update.slots import Slots
from shared.errors import FaultError, HinterlandError, TrustError
from shared.faultpoints import here
from shared.messages import Stage, UpdateStatus
from shared.trust import SlotFact

log = logging.getLogger(__name__)

MAX_STARTS = 3
"""Starts that ended while a slot was being loaded, after which the other slot is taken."""


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
        self._bad: list[str] = []

    async def run(self) -> str:
        """Return the release that serves now; empty in safe mode, where nothing does."""
        pointer = await asyncio.to_thread(self._slots.active)
        chosen = await self._choose(pointer)
        if chosen is not None and chosen.slot != pointer:
            await asyncio.to_thread(self._slots.commit, chosen.slot)
        await self._settle(chosen, pointer)
        await self._tell(chosen)
        return chosen.fact.release.id if chosen else ""

    async def _choose(self, pointer: str | None) -> _Chosen | None:
        entry = self._parts.journal.entry(self._model)
        slots = await asyncio.to_thread(self._slots.candidates)
        if pointer is None and entry is not None:
            slots.sort(key=lambda slot: slot != entry.slot)  # the pointer is damaged: the journal knows better
        for slot in slots:
            if slot != pointer and entry is not None and entry.slot == slot and entry.stage is not Stage.ACTIVE:
                continue  # it holds a release that was never committed, or was rolled back
            try:
                return _Chosen(slot, await self._serve(slot, entry))
            except HinterlandError as error:
                self._bad.append(f"slot {slot}: {reason_of(error)}")
            except Exception as error:  # whatever a model makes a library raise
                log.exception("slot %s of %s does not serve", slot, self._model)
                self._bad.append(f"slot {slot}: {type(error).__name__}: {error}")
        return None

    async def _serve(self, slot: str, entry: Entry | None) -> SlotFact:
        keys = await self._parts.trust.model_keys()
        fact = await asyncio.to_thread(self._slots.inspect, slot, keys=keys)
        mine = entry if entry is not None and (entry.release, entry.slot) == (fact.release.id, slot) else None
        if mine is not None and mine.starts >= MAX_STARTS:
            raise FaultError(f"{mine.release} ended the agent {mine.starts} times while it was loaded")
        await self._note_starts(mine, (mine.starts if mine else 0) + 1)
        here("start.loading")
        try:
            await self._parts.serving.activate(self._model, fact.release, fact.variant, fact.path)
        except TrustError:  # the bytes were altered: they ended nothing, and were never loaded
            await self._note_starts(mine, mine.starts if mine else 0)
            raise
        here("start.served")
        await self._note_starts(mine, 0)
        return fact

    async def _note_starts(self, entry: Entry | None, starts: int) -> None:
        if entry is not None:
            await self._write(msgspec.structs.replace(entry, starts=starts))

    async def _settle(self, chosen: _Chosen | None, pointer: str | None) -> None:
        """Give an unfinished update the event that ends or restarts it."""
        entry = self._parts.journal.entry(self._model)
        if entry is None or entry.stage in TERMINAL:
            return
        committed = entry.stage is Stage.TRIAL and chosen is not None and chosen.slot == pointer == entry.slot
        event = Event.COMMITTED if committed else Event.REBOOTED
        reason = "" if committed else f"the agent restarted while it was {entry.stage}"
        entry = msgspec.structs.replace(entry, stage=step(entry.stage, event), reason=reason)
        await self._write(entry)
        if entry.stage is Stage.ROLLED_BACK:
            await self._say(entry.stage, release=entry.release, slot=entry.slot, reason=reason)

    async def _write(self, entry: Entry) -> None:
        """A disk that takes no journal must not keep a whole slot from serving."""
        try:
            await asyncio.to_thread(self._parts.journal.write, self._model, entry)
        except FaultError as error:
            log.error("the journal of %s was not written: %s", self._model, error)  # noqa: TRY400 - expected kind of error

    async def _tell(self, chosen: _Chosen | None) -> None:
        if self._bad:
            entry = self._parts.journal.entry(self._model)
            stage = Stage.ROLLED_BACK if chosen else Stage.FAILED
            release = entry.release if entry else ""
            await self._say(stage, release=release, reason="; ".join(self._bad))
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
