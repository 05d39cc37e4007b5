"""What serves fails in service: the slot before it serves again, or nothing does."""

from __future__ import annotations

import asyncio

import msgspec

from edge.update.journal import Entry, opened
from edge.update.machine import Event
from edge.update.parts import Parts
from edge.update.plan import MAX_TRIALS
from edge.update.resume import Resumption
from edge.update.shadowing import Shadowing
from edge.update.slots import Slots
from shared.messages import Stage


class Relapse:
    """One model line's way back, while the agent runs."""

    def __init__(self, parts: Parts, model: str) -> None:
        self._parts = parts
        self._model = model
        self._slots = Slots(parts.models, model)

    async def run(self, active: str, reason: str) -> str:
        """Return the release that serves now; empty in safe mode, where nothing does.

        Args:
            active: release that serves, and should not.
            reason: why.
        """
        before = self._parts.journal.entry(self._model)
        if before is not None and before.stage is Stage.SHADOW:
            shadow = Shadowing(self._parts, self._model, before)
            await shadow.withdraw(f"{active}, beside which it ran, is rolled back")
        course = self._parts.course(self._model, await self._entry(active))
        # the disk may refuse the note: a model that fails must not serve on for that
        await course.finish(Event.RELAPSED, reason=f"fault: {reason}", trials=MAX_TRIALS)
        serves = await Resumption(self._parts, self._model).run()
        if not serves:
            await self._parts.serving.withdraw(self._model)
        return serves

    async def _entry(self, active: str) -> Entry:
        before = self._parts.journal.entry(self._model)
        if before is not None and (before.release, before.stage) == (active, Stage.ACTIVE):
            return before
        slot = await asyncio.to_thread(self._slots.active)
        return msgspec.structs.replace(opened(before, active), stage=Stage.ACTIVE, slot=slot or "")
