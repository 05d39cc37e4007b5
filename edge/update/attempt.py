"""One release's way onto this device: admit, download, verify, stage, try, commit. Each step is journalled first."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import msgspec

from edge.update.download import Progress
from edge.update.fetch import fetch
from edge.update.journal import Entry, Journal
from edge.update.machine import Event, step
from edge.update.pace import Patience
from edge.update.serving import Serving
from edge.update.slots import Slots
from edge.update.trust import Trust
from shared.bundle import Release, Variant
from shared.bus import Bus
from shared.clock import Clock
from shared.errors import ContractError, FaultError, HinterlandError, TrustError
from shared.ids import DeviceId
from shared.messages import Stage, UpdateStatus
from shared.trust import SlotFact

log = logging.getLogger(__name__)

Report = Callable[[UpdateStatus], Awaitable[None]]

MAX_REASON = 500
"""Characters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What an update needs; made by the agent's wiring."""

    device: DeviceId
    models: Path
    """Directory of all slots."""

    bus: Bus
    trust: Trust
    journal: Journal
    serving: Serving
    report: Report
    """Keeps a status until the coordinator has it."""

    clock: Clock
    random: Random
    patience: Patience = field(default_factory=Patience)


def reason_of(error: HinterlandError) -> str:
    """What an operator reads: who must act, and why."""
    return f"{error.code}: {error}"[:MAX_REASON]


class Attempt:
    """From OFFERED to a terminal stage."""

    def __init__(self, parts: Parts, *, model: str, release: Release) -> None:
        self._parts = parts
        self._model = model
        self._release = release
        self._slots = Slots(parts.models, model)
        self._swapped = False
        self._entry = _first_entry(parts.journal.entry(model), release.id)
        self._received = self._total = 0

    async def run(self) -> Stage:
        """Take every step that can be taken; return where it ended. Errors end in a stage, never in an exception."""
        try:
            await self._say()
            variant = self._admit()
            await self._go(Event.ADMITTED, variant=variant.name)
            file = await fetch(self._parts, self._slots, variant, self._progress)
            self._received = variant.size
            await self._go(Event.PROVEN)
            slot, fact = await self._stage(file, variant)
            await self._go(Event.STAGED, slot=slot)
            await self._go(Event.TRIED, trials=self._entry.trials + 1)
            await self._try(slot, fact)
        except (TrustError, ContractError) as error:
            await self._end(Event.DISTRUSTED, error)
        except HinterlandError as error:
            await self._end(Event.BROKE, error)
        except Exception as error:  # whatever a model makes a library raise is this release's failure, not the agent's
            log.exception("the update to %s failed", self._release.id)
            await self._end(Event.BROKE, FaultError(f"{type(error).__name__}: {error}"))
        return self._entry.stage

    def _admit(self) -> Variant:
        if self._release.model != self._model:
            raise TrustError(f"{self._release.id} is desired for {self._model}, but is of another model line")
        variant = self._parts.trust.admit(self._release)
        self._total = variant.size
        return variant

    async def _stage(self, file: Path, variant: Variant) -> tuple[str, SlotFact]:
        keys = await self._parts.trust.model_keys()
        stage = self._slots.stage  # the digest is proven: `PartialFile.finish` took it as the bytes came
        return await asyncio.to_thread(
            stage, file, release=self._release, variant=variant, keys=keys, digest=variant.digest
        )

    async def _progress(self, progress: Progress) -> None:
        self._received = progress.received
        await self._say(reason=progress.reason[:MAX_REASON])

    async def _try(self, slot: str, fact: SlotFact) -> None:
        await self._parts.serving.activate(self._model, fact.release, fact.variant, fact.path)
        self._swapped = True
        # the mark before the pointer: a power cut between them forgets the new release, never that it ran
        await self._parts.trust.remember(fact.release)
        await asyncio.to_thread(self._slots.commit, slot)
        await self._finish(Event.COMMITTED, failures=0)
        with suppress(FaultError):  # the old bytes wait for the next staging, then
            await asyncio.to_thread(self._slots.tidy)

    async def _end(self, event: Event, error: HinterlandError) -> None:
        log.warning("%s: %s: %s", self._release.id, event, error)
        if self._swapped:
            await self._restore()
        distrusted = event is Event.DISTRUSTED
        await self._finish(
            event,
            reason=reason_of(error),
            distrusted=distrusted,
            metadata=self._parts.trust.fingerprint if distrusted else "",
            failures=self._entry.failures + 1,
        )

    async def _restore(self) -> None:
        """The new release serves already, but could not be committed: serve the committed one again."""
        try:
            active = self._slots.active()
            if active is None:
                await self._parts.serving.withdraw(self._model)
                return
            keys = await self._parts.trust.model_keys()
            fact = await asyncio.to_thread(self._slots.inspect, active, keys=keys)
            await self._parts.serving.activate(self._model, fact.release, fact.variant, fact.path)
        except HinterlandError as error:
            log.error("%s could not be served again: %s", self._model, error)  # noqa: TRY400 - expected kind of error

    async def _go(self, event: Event, **facts: object) -> None:
        """Journal the stage after `event`, then report it."""
        entry = msgspec.structs.replace(self._entry, stage=step(self._entry.stage, event), **facts)
        await asyncio.to_thread(self._parts.journal.write, self._model, entry)
        self._entry = entry
        await self._say()

    async def _finish(self, event: Event, **facts: object) -> None:
        """As `_go`, for terminal stages: their effect is there already, so a full disk only loses the note of it."""
        entry = msgspec.structs.replace(self._entry, stage=step(self._entry.stage, event), **facts)
        self._entry = entry
        try:
            await asyncio.to_thread(self._parts.journal.write, self._model, entry)
        except FaultError as error:
            log.error("%s is %s, but that was not written down: %s", entry.release, entry.stage, error)  # noqa: TRY400 - expected kind of error
        await self._say(reason=entry.reason)

    async def _say(self, *, reason: str = "") -> None:
        status = UpdateStatus(
            model=self._model,
            release=self._release.id,
            stage=self._entry.stage,
            slot=self._entry.slot,
            variant=self._entry.variant,
            reason=reason,
            received=self._received,
            total=self._total,
            at=self._parts.clock.now(),
        )
        await say(self._parts.report, status)


async def say(report: Report, status: UpdateStatus) -> None:
    """Report; a disk that does not take the report must not stop the update either."""
    try:
        await report(status)
    except HinterlandError as error:
        log.error("%s %s was not reported: %s", status.release, status.stage, error)  # noqa: TRY400 - expected kind of error


def _first_entry(before: Entry | None, release: str) -> Entry:
    if before is None or before.release != release:
        return Entry(release=release, stage=Stage.OFFERED)
    return Entry(release=release, stage=Stage.OFFERED, trials=before.trials, failures=before.failures)
