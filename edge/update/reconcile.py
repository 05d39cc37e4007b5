"""Make the device run what the signers want: look, judge, attempt, repeat."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Collection
from contextlib import suppress
from typing import Protocol

from edge.update.attempt import Attempt, Parts, reason_of, say
from edge.update.journal import Entry
from edge.update.machine import Event, step
from edge.update.plan import Situation, should_attempt
from edge.update.resume import Resumption
from edge.update.slots import Slots
from shared.bundle import Release
from shared.errors import ContractError, FaultError, HinterlandError, TransportError, TrustError
from shared.messages import Stage, UpdateStatus

log = logging.getLogger(__name__)

LOOK_S = 30.0
"""Most seconds between two looks at unchanged metadata: its expiry must be noticed too."""


class Watched(Protocol):
    """Something whose change is a reason to look again; `edge.link.retained.RetainedFiles` is one."""

    @property
    def generation(self) -> int:
        """Grows with each change."""
        ...

    async def wait_change(self, seen: int) -> None:
        """Return once the generation is past `seen`."""
        ...


class Reconciler:
    """Level-triggered: every turn starts from what is desired and what is active now."""

    def __init__(self, parts: Parts, *, models: Collection[str] | None = None) -> None:
        """Take the model lines this device has a use for; None for all that are desired."""
        self._parts = parts
        self._models = models
        self._desired: dict[str, str] = {}  # empty while it cannot be proven
        self._ended: dict[str, float] = {}
        self._complaint = ""
        self.active: dict[str, str] = {}
        """Model → release in the committed slot; empty for a model in safe mode."""

    async def resume(self) -> None:
        """Serve what is committed; once, before the first turn, with or without a link."""
        held = await asyncio.to_thread(Slots.models, self._parts.models)
        for model in sorted({*held, *self._parts.journal.models()}):  # a step may be journalled before there is a slot
            try:
                self.active[model] = await Resumption(self._parts, model).run()
            except HinterlandError as error:
                log.error("%s is in safe mode: %s", model, error)  # noqa: TRY400 - expected kind of error
                self.active[model] = ""

    async def reconcile_once(self) -> None:
        """One turn."""
        await self.look()
        await self.pursue()

    async def run(self, files: Watched, *, check_s: float) -> None:
        """Turn until cancelled; a change of the signed files starts a turn at once."""
        clock = self._parts.clock
        seen, looked = -1, -math.inf
        while True:
            if files.generation != seen or clock.monotonic() - looked >= LOOK_S:
                seen, looked = files.generation, clock.monotonic()
                await self.look()
            await self.pursue()
            with suppress(TimeoutError):
                async with asyncio.timeout(check_s):  # `wait_for` of Python 3.11 may swallow a cancellation
                    await files.wait_change(seen)

    async def look(self) -> None:
        """Read what the signers want now; what cannot be proven changes nothing but the reports."""
        self._desired = {}
        try:
            self._desired = await self._parts.trust.desired(self._parts.device)
        except TransportError as error:
            log.debug("no fresh metadata yet: %s", error)
        except HinterlandError as error:
            await self._complain(reason_of(error))
        else:
            await self._complain("")

    async def pursue(self) -> None:
        """Attempt every update that is due; each model line for itself."""
        wanted = {m: r for m, r in self._desired.items() if self._models is None or m in self._models}
        await asyncio.gather(*(self._pursue(model, release) for model, release in sorted(wanted.items())))

    async def _pursue(self, model: str, release: str) -> None:
        if not should_attempt(self._situation(model, release)):
            return
        proven = await self._manifest(model, release)
        if proven is None:
            return
        stage = await Attempt(self._parts, model=model, release=proven).run()
        self._ended[model] = self._parts.clock.monotonic()
        if stage is Stage.ACTIVE:
            self.active[model] = release

    def _situation(self, model: str, release: str) -> Situation:
        return Situation(
            desired=release,
            active=self.active.get(model, ""),
            entry=self._parts.journal.entry(model),
            metadata=self._parts.trust.fingerprint,
            waited_s=self._parts.clock.monotonic() - self._ended.get(model, -math.inf),
        )

    async def _manifest(self, model: str, release: str) -> Release | None:
        """The proven manifest; None when it has not come yet, or was refused, which is then journalled."""
        try:
            return await self._parts.trust.release(release)
        except TransportError as error:
            log.debug("no manifest of %s yet: %s", release, error)
        except (TrustError, ContractError) as error:
            await self._refuse(model, release, error)
        except FaultError as error:
            log.error("the manifest of %s cannot be kept: %s", release, error)  # noqa: TRY400 - expected kind of error
        return None

    async def _refuse(self, model: str, release: str, error: HinterlandError) -> None:
        entry = Entry(
            release=release,
            stage=step(Stage.OFFERED, Event.DISTRUSTED),
            reason=reason_of(error),
            distrusted=True,
            metadata=self._parts.trust.fingerprint,
        )
        with suppress(FaultError):
            await asyncio.to_thread(self._parts.journal.write, model, entry)
        await self._say(model, release, entry.stage, entry.reason)

    async def _complain(self, reason: str) -> None:
        """Report once that the signed metadata as a whole is refused, and once that it is fine again."""
        if reason == self._complaint:
            return
        self._complaint = reason
        log.warning("signed metadata: %s", reason or "proven again")
        await self._say("", "", Stage.REFUSED if reason else Stage.VERIFIED, reason)

    async def _say(self, model: str, release: str, stage: Stage, reason: str) -> None:
        status = UpdateStatus(model=model, release=release, stage=stage, reason=reason, at=self._parts.clock.now())
        await say(self._parts.report, status)
