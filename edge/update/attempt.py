"""One release's way onto this device: admit, download, verify, stage, shadow or try, commit; each journalled first."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from pathlib import Path

from edge.update.course import MAX_REASON, reason_of
from edge.update.download import Progress
from edge.update.fetch import fetch
from edge.update.journal import opened
from edge.update.machine import Event
from edge.update.parts import Parts
from edge.update.preflight import HeldError
from edge.update.slots import Slots
from shared.bundle import Challenge, Release, Variant
from shared.errors import ContractError, FaultError, HinterlandError, TrustError
from shared.faultpoints import here
from shared.messages import Stage
from shared.trust import SlotFact

log = logging.getLogger(__name__)

ALONE = "nothing serves yet: nothing to compare with"
"""Said of a challenger on a device where no release serves: it lies ready, and only waits for its promotion."""


class AbandonedError(Exception):
    """Somebody ended the attempt; the text says why."""


class Attempt:
    """From OFFERED to a stage where this device waits for the signers' next word."""

    def __init__(
        self,
        parts: Parts,
        *,
        model: str,
        release: Release,
        challenge: Challenge | None = None,
        alone: bool = False,
    ) -> None:
        """Take a proven manifest.

        Args:
            parts: this device's.
            model: line for which the release is desired.
            release: what is to run.
            challenge: the terms of running beside what serves; None to serve.
            alone: nothing serves beside which it could run.
        """
        self._parts = parts
        self._model = model
        self._release = release
        self._challenge = challenge
        self._alone = alone
        self._slots = Slots(parts.models, model)
        self._swapped = False
        self._abandoned: Event | None = None
        self._why = ""
        self._fetching: asyncio.Task[Path] | None = None
        self._course = parts.course(model, opened(parts.journal.entry(model), release.id))

    async def run(self) -> Stage:
        """Take every step that can be taken; return where it ended. Errors end in a stage, never in an exception."""
        try:
            await self._course.say()
            variant = self._admit()
            if self._parts.preflight is not None:
                await self._parts.preflight.check(variant)
            await self._go(Event.ADMITTED, variant=variant.name, reason=self._parts.trust.fallback(variant))
            slot, fact = await self._bring(variant)
            if self._challenge is not None:
                await self._shadow(fact, self._challenge)
            else:
                await self._go(Event.TRIED, trials=self._course.entry.trials + 1)
                await self._try(slot, fact)
        except HeldError as held:
            await self._course.finish(Event.HELD, reason=str(held))
        except AbandonedError as abandoned:
            await self._course.finish(self._abandoned or Event.WITHDRAWN, reason=str(abandoned))
        except Exception as error:  # whatever a model makes a library raise is this release's failure, not the agent's
            await self._fail(error)
        return self._course.entry.stage

    def abandon(self, event: Event, why: str) -> None:
        """End with `event`: at the next step, or at once while bytes are fetched; what is in its trial goes on."""
        self._abandoned, self._why = event, why
        if self._fetching is not None:
            self._fetching.cancel()

    def is_wanted(self, *, desired: str, challenger: str) -> bool:
        """Whether the signers still want it here; what was only to run beside must not come to serve by itself."""
        return self._release.id == desired or (self._challenge is not None and self._release.id == challenger)

    async def promote(self) -> Stage:
        """From SHADOW: try and commit what lies in the idle slot; return where it ended."""
        self._course = self._parts.course(self._model, self._parts.journal.entry(self._model) or self._course.entry)
        try:
            await self._parts.serving.unchallenge(self._model)  # two models in memory, never three
            await self._course.go(Event.TRIED, challenge=None, starts=0)
            self._admit()
            fact = await self._staged()
            await self._try(self._course.entry.slot, fact)
        except Exception as error:  # as in `run`
            await self._fail(error)
        return self._course.entry.stage

    def _admit(self) -> Variant:
        if self._release.model != self._model:
            raise TrustError(f"{self._release.id} is desired for {self._model}, but is of another model line")
        variant = self._parts.trust.admit(self._release)
        self._course.total = variant.size
        return variant

    async def _bring(self, variant: Variant) -> tuple[str, SlotFact]:
        """Have the release in the idle slot: it may lie there from a trial or a shadow before."""
        fact = await self._lying(variant)
        if fact is not None:
            self._course.received = variant.size
            await self._go(Event.PROVEN)
            await self._go(Event.STAGED, slot=self._slots.idle())
            return self._slots.idle(), fact
        file = await self._fetched(variant)
        self._course.received = variant.size
        await self._go(Event.PROVEN)
        slot, fact = await self._stage(file, variant)
        await self._go(Event.STAGED, slot=slot)
        return slot, fact

    async def _fetched(self, variant: Variant) -> Path:
        self._fetching = asyncio.create_task(
            fetch(self._parts, self._slots, variant, self._progress), name=f"fetch-{self._release.id}"
        )
        try:
            return await self._fetching
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._abandoned and not (task and task.cancelling()):
                raise AbandonedError(self._why) from None
            raise
        finally:
            self._fetching = None

    async def _lying(self, variant: Variant) -> SlotFact | None:
        try:
            fact = await self._inspect(self._slots.idle())
            if (fact.release, fact.variant) != (self._release, variant):
                return None
            keys = await self._parts.trust.model_keys()
            return await asyncio.to_thread(self._slots.verify, self._slots.idle(), keys=keys)
        except HinterlandError:
            return None

    async def _stage(self, file: Path, variant: Variant) -> tuple[str, SlotFact]:
        keys = await self._parts.trust.model_keys()
        stage = self._slots.stage  # its chunks, which make up the digest's file, were proven as they came
        return await asyncio.to_thread(
            stage, file, release=self._release, variant=variant, keys=keys, digest=variant.digest
        )

    async def _progress(self, progress: Progress) -> None:
        self._course.received = progress.received
        await self._course.say(reason=progress.reason[:MAX_REASON])

    async def _shadow(self, fact: SlotFact, terms: Challenge) -> None:
        trials = self._course.entry.trials + 1
        await self._go(Event.SHADOWED, trials=trials, challenge=terms, reason=ALONE if self._alone else "")
        if not self._alone:
            await self._parts.serving.challenge(self._model, fact.release, fact.variant, fact.path, terms)
            here("update.shadowed")

    async def _try(self, slot: str, fact: SlotFact) -> None:
        await self._parts.serving.activate(self._model, fact.release, fact.variant, fact.path)
        self._swapped = True
        here("update.activated")
        # the mark before the pointer: a power cut between them forgets the new release, never that it ran
        await self._parts.trust.remember(fact.release)
        here("update.remembered")
        await asyncio.to_thread(self._slots.commit, slot)
        here("update.committed")
        await self._course.finish(Event.COMMITTED, failures=0, trials=0, reason="")
        with suppress(FaultError):  # the old bytes wait for the next staging, then
            await asyncio.to_thread(self._slots.tidy)

    async def _fail(self, error: Exception) -> None:
        if not isinstance(error, HinterlandError):
            log.error("the update to %s failed", self._release.id, exc_info=error)
            error = FaultError(f"{type(error).__name__}: {error}")
        distrusted = isinstance(error, TrustError | ContractError)
        event = Event.DISTRUSTED if distrusted else Event.BROKE
        log.warning("%s: %s: %s", self._release.id, event, error)
        if self._swapped:
            await self._restore()
        await self._course.finish(
            event,
            reason=reason_of(error),
            distrusted=distrusted,
            metadata=self._parts.trust.fingerprint if distrusted else "",
            failures=self._course.entry.failures + 1,
            challenge=None,
        )

    async def _restore(self) -> None:
        """The new release serves already, but could not be committed: serve the committed one again."""
        try:
            active = self._slots.active()
            if active is None:
                await self._parts.serving.withdraw(self._model)
                return
            fact = await self._inspect(active)
            await self._parts.serving.activate(self._model, fact.release, fact.variant, fact.path)
        except HinterlandError as error:
            log.error("%s could not be served again: %s", self._model, error)  # noqa: TRY400 - expected kind of error

    async def _staged(self) -> SlotFact:
        """The release in the idle slot, where its shadow left it."""
        fact = await self._inspect(self._slots.idle())
        if fact.release != self._release:
            raise TrustError(f"the idle slot holds {fact.release.id}, which is not what was promoted")
        return fact

    async def _inspect(self, slot: str) -> SlotFact:
        keys = await self._parts.trust.model_keys()
        return await asyncio.to_thread(self._slots.inspect, slot, keys=keys)

    async def _go(self, event: Event, **facts: object) -> None:
        """Take a step that only makes sense as long as the release is wanted."""
        if self._abandoned:
            raise AbandonedError(self._why)
        await self._course.go(event, **facts)
