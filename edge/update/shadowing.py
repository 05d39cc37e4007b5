"""A challenger that runs in the shadow: loaded again after a start, ended by the signers, by itself, or by silence."""

from __future__ import annotations

import asyncio

from edge.update.course import Course, reason_of
from edge.update.journal import Entry
from edge.update.machine import Event
from edge.update.parts import Parts
from edge.update.slots import Slots
from shared.bundle import Challenge
from shared.errors import FaultError, HinterlandError, TrustError
from shared.trust import SlotFact

STEADY_S = 60.0
"""Seconds after which the starts before are forgiven: what it runs beside has not ended the agent."""


class Shadowing:
    """One model line whose journal says SHADOW."""

    def __init__(self, parts: Parts, model: str, entry: Entry) -> None:
        self._parts = parts
        self._model = model
        self._slots = Slots(parts.models, model)
        self._course: Course = parts.course(model, entry)

    async def load(self) -> None:
        """Run it again, from the bytes in the idle slot, on the terms in the journal."""
        entry = self._course.entry
        try:
            fact = await self._staged(entry.release)
            terms = entry.challenge or Challenge(release=entry.release)
            await self._parts.serving.challenge(self._model, fact.release, fact.variant, fact.path, terms)
            await self._course.say()
        except HinterlandError as error:
            await self.end(error)
        except Exception as error:  # whatever a model makes a library raise
            await self.end(FaultError(f"{type(error).__name__}: {error}"))

    async def _staged(self, release: str) -> SlotFact:
        keys = await self._parts.trust.model_keys()
        fact = await asyncio.to_thread(self._slots.inspect, self._slots.idle(), keys=keys)
        if fact.release.id != release:
            raise TrustError(f"the idle slot holds {fact.release.id} and not {release}")
        return fact

    async def end(self, error: HinterlandError) -> None:
        """It failed: this device is rid of it, and the release that serves has not noticed."""
        await self._parts.serving.unchallenge(self._model)
        distrusted = isinstance(error, TrustError)
        await self._course.finish(
            Event.DISTRUSTED if distrusted else Event.BROKE,
            reason=reason_of(error),
            challenge=None,
            distrusted=distrusted,
            metadata=self._parts.trust.fingerprint if distrusted else "",
            failures=self._course.entry.failures + 1,
        )

    async def withdraw(self, reason: str) -> None:
        """Nothing was wrong with it, so that this was no trial."""
        await self._parts.serving.unchallenge(self._model)
        trials = max(0, self._course.entry.trials - 1)
        await self._course.finish(Event.WITHDRAWN, reason=reason, challenge=None, trials=trials, starts=0)

    async def retune(self, terms: Challenge) -> None:
        """Go on under other terms."""
        self._parts.serving.retune(self._model, terms)
        await self._course.note(challenge=terms)

    async def steady(self) -> None:
        """Forgive the starts before."""
        await self._course.note(starts=0)
