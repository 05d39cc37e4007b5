"""Make the device run what the signers want: look, judge, take the next step, repeat."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Collection
from contextlib import suppress
from typing import Protocol

from edge.update.attempt import Attempt
from edge.update.course import reason_of, say
from edge.update.journal import opened
from edge.update.machine import Event
from edge.update.parts import Parts
from edge.update.plan import Move, Situation, decide
from edge.update.relapse import Relapse
from edge.update.resume import Resumption
from edge.update.shadowing import STEADY_S, Shadowing
from edge.update.slots import Slots
from edge.update.trust import Desired
from shared.bundle import Challenge, Release
from shared.errors import ContractError, FaultError, HinterlandError, TransportError, TrustError
from shared.messages import Stage, UpdateStatus
from shared.trust.errors import Altered

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
    """Level-triggered: every turn starts from what is desired, what is active and what ails now."""

    def __init__(self, parts: Parts, *, models: Collection[str] | None = None) -> None:
        """Take the model lines this device has a use for; None for all that are desired."""
        self._parts = parts
        self._models = models
        self._desired = Desired()  # empty while it cannot be proven
        self._proven = parts.clock.monotonic()
        self._silent = True
        self._ended: dict[str, float] = {}
        self._shadowed: dict[str, float] = {}
        self._attempts: dict[str, Attempt] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._rotten: set[str] = set()
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
        """One turn, to its end."""
        await self.look()
        await self.pursue()

    async def run(self, files: Watched, *, check_s: float) -> None:
        """Turn until cancelled; a change of the signed files starts a turn at once.

        Steps run in tasks of their own: a download that takes hours keeps nobody from seeing that the model that
        serves fails, or that the signers think otherwise.
        """
        clock = self._parts.clock
        seen, looked = -1, -math.inf
        try:
            while True:
                if files.generation != seen or clock.monotonic() - looked >= LOOK_S:
                    seen, looked = files.generation, clock.monotonic()
                    await self.look()
                self._start_due()
                with suppress(TimeoutError):
                    async with asyncio.timeout(check_s):  # `wait_for` of Python 3.11 may swallow a cancellation
                        await files.wait_change(seen)
        finally:
            await self._stop()

    async def look(self) -> None:
        """Read what the signers want now; what cannot be proven changes nothing but the reports."""
        self._desired, self._silent = Desired(), True
        try:
            proven = await self._parts.trust.desired(self._parts.device)
            await self._hide(proven)
            self._desired = proven
        except TransportError as error:
            log.debug("no fresh metadata yet: %s", error)
        except HinterlandError as error:
            await self._complain(reason_of(error))
        else:
            self._proven, self._silent = self._parts.clock.monotonic(), False
            await self._complain("")
            for model, attempt in self._attempts.items():
                desired, challenge = self._desired.releases.get(model, ""), self._desired.challengers.get(model)
                if not attempt.is_wanted(desired=desired, challenger=challenge.release if challenge else ""):
                    attempt.abandon(Event.WITHDRAWN, "no longer desired")

    async def _hide(self, desired: Desired) -> None:
        """Lay the fleet's masks over all pictures before a model may serve that sees them."""
        if self._parts.masks is None:
            return
        try:
            await asyncio.to_thread(self._parts.masks, desired.masks)
        except FaultError as error:  # they hold, and are tried again with the next look
            log.error("%s", error)  # noqa: TRY400 - expected kind of error

    async def pursue(self) -> None:
        """Take every step that is due, to its end; each model line for itself."""
        self._start_due()
        await asyncio.gather(*self._tasks.values())

    async def rotten(self, model: str, reason: str) -> None:
        """The active slot is damaged, but what serves was loaded before: serve on, and fetch the release again."""
        self._rotten.add(model)
        release = self.active.get(model, "")
        at = self._parts.clock.now()
        status = UpdateStatus(model=model, release=release, stage=Stage.ACTIVE, reason=reason, at=at)
        await say(self._parts.report, status)

    def _start_due(self) -> None:
        wanted = {*self._desired.releases, *self._desired.challengers}
        for model in sorted(self.active.keys() | {m for m in wanted if self._models is None or m in self._models}):
            situation = self._situation(model)
            move, task = decide(situation), self._tasks.get(model)
            if task is not None and not task.done():
                if move is Move.RELAPSE and model in self._attempts:
                    self._attempts[model].abandon(Event.REBOOTED, "begins anew once what serves is well")
                continue
            self._tasks.pop(model, None)
            if move is not Move.REST or self._news(model):
                # the terms as they are now: a step begins later, perhaps in the middle of a look, which knows none
                step = self._take(model, move, situation, self._desired.challengers.get(model))
                self._tasks[model] = asyncio.create_task(step, name=f"update-{model}")

    async def _take(self, model: str, move: Move, situation: Situation, terms: Challenge | None) -> None:
        """One step of one model line; a defect of ours in it must not end the agent."""
        try:
            await self._act(model, move, situation, terms)
        except Exception:
            log.exception("%s of %s failed", move, model)
            self._ended[model] = self._parts.clock.monotonic()

    async def _act(self, model: str, move: Move, situation: Situation, terms: Challenge | None) -> None:
        match move:
            case Move.RELAPSE:
                log.error("%s is rolled back: %s", situation.active, situation.ailing)
                self.active[model] = await Relapse(self._parts, model).run(situation.active, situation.ailing)
            case Move.ATTEMPT | Move.PROMOTE:
                await self._attempt(model, situation.desired, promoted=move is Move.PROMOTE)
            case Move.CHALLENGE:
                await self._attempt(model, situation.challenger, challenge=terms)
            case Move.REST:
                await self._tend(model)
            case _:
                await self._shadow(model, move, situation)

    async def _shadow(self, model: str, move: Move, situation: Situation) -> None:
        shadowing = self._shadowing(model)
        if shadowing is None:
            return
        if move is Move.END:
            await shadowing.end(FaultError(situation.challenger_ailing))
            self._ended[model] = self._parts.clock.monotonic()
        elif move is Move.WITHDRAW:
            silent = f"nothing proven from the signers for {situation.silent_s / 86_400:.1f} days"
            await shadowing.withdraw(silent if situation.silent_s else "no longer desired beside what serves")
        else:
            self._shadowed[model] = self._parts.clock.monotonic()
            await shadowing.load()

    async def _attempt(
        self, model: str, release: str, *, challenge: Challenge | None = None, promoted: bool = False
    ) -> None:
        proven = await self._manifest(model, release)
        if proven is None:
            return
        alone = not self.active.get(model)
        attempt = Attempt(self._parts, model=model, release=proven, challenge=challenge, alone=alone)
        self._attempts[model] = attempt
        try:
            stage = await (attempt.promote() if promoted else attempt.run())
        finally:
            self._attempts.pop(model, None)
        self._ended[model] = self._parts.clock.monotonic()
        self._shadowed[model] = self._parts.clock.monotonic()
        if stage is Stage.ACTIVE:
            self.active[model] = release
            self._rotten.discard(model)

    def _news(self, model: str) -> bool:
        """Whether there is something to write down of a shadow that goes on."""
        entry = self._parts.journal.entry(model)
        if entry is None or entry.stage is not Stage.SHADOW:
            return False
        challenge = self._desired.challengers.get(model, entry.challenge)
        return challenge != entry.challenge or self._steady(model, entry.starts)

    def _steady(self, model: str, starts: int) -> bool:
        since = self._shadowed.get(model, math.inf)
        return starts > 0 and self._parts.clock.monotonic() - since >= STEADY_S

    async def _tend(self, model: str) -> None:
        shadowing, entry = self._shadowing(model), self._parts.journal.entry(model)
        if shadowing is None or entry is None:
            return
        challenge = self._desired.challengers.get(model, entry.challenge)
        if challenge is not None and challenge != entry.challenge:
            await shadowing.retune(challenge)
        if self._steady(model, entry.starts):
            await shadowing.steady()

    def _shadowing(self, model: str) -> Shadowing | None:
        entry = self._parts.journal.entry(model)
        return Shadowing(self._parts, model, entry) if entry and entry.stage is Stage.SHADOW else None

    async def _stop(self) -> None:
        """End the steps under way; whoever stops an agent on purpose says nothing about a challenger."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        for model in self.active:
            shadowing = self._shadowing(model)
            if shadowing is not None:
                await shadowing.steady()

    def _situation(self, model: str) -> Situation:
        serving, clock = self._parts.serving, self._parts.clock
        challenge = self._desired.challengers.get(model)
        return Situation(
            desired=self._desired.releases.get(model, ""),
            active=self.active.get(model, ""),
            entry=self._parts.journal.entry(model),
            metadata=self._parts.trust.fingerprint,
            waited_s=clock.monotonic() - self._ended.get(model, -math.inf),
            challenger=challenge.release if challenge else "",
            rotten=model in self._rotten,
            silent_s=max(clock.monotonic() - self._proven, 1e-9) if self._silent else 0.0,
            running=serving.challenger(model),
            ailing=serving.ailing(model),
            challenger_ailing=serving.challenger_ailing(model),
        )

    async def _manifest(self, model: str, release: str) -> Release | None:
        """The proven manifest; None when it has not come yet, or was refused, which is then journalled."""
        try:
            return await self._parts.trust.release(release)
        except TransportError as error:
            log.debug("no manifest of %s yet: %s", release, error)
        except Altered as error:
            await self._unproven(model, release, error)
        except (TrustError, ContractError) as error:
            await self._refuse(model, release, error)
        except FaultError as error:
            log.error("the manifest of %s cannot be kept: %s", release, error)  # noqa: TRY400 - expected kind of error
        return None

    async def _unproven(self, model: str, release: str, error: Altered) -> None:
        """What came is not what was signed: nothing is known against the release, which is tried again later.

        The link did not do its part, as with chunks that are altered for ever. A shadow whose promotion waits for
        the manifest goes on; every turn asks again.
        """
        self._ended[model] = self._parts.clock.monotonic()
        entry = self._parts.journal.entry(model)
        if entry is not None and entry.stage is Stage.SHADOW:
            log.warning("the manifest of %s: %s", release, error)
            return
        course = self._parts.course(model, opened(entry, release))
        await course.finish(Event.BROKE, reason=reason_of(error), failures=course.entry.failures + 1)

    async def _refuse(self, model: str, release: str, error: HinterlandError) -> None:
        course = self._parts.course(model, opened(self._parts.journal.entry(model), release))
        await course.finish(
            Event.DISTRUSTED, reason=reason_of(error), distrusted=True, metadata=self._parts.trust.fingerprint
        )

    async def _complain(self, reason: str) -> None:
        """Report once that the signed metadata as a whole is refused, and once that it is fine again."""
        if reason == self._complaint:
            return
        self._complaint = reason
        log.warning("signed metadata: %s", reason or "proven again")
        stage = Stage.REFUSED if reason else Stage.VERIFIED
        status = UpdateStatus(model="", release="", stage=stage, reason=reason, at=self._parts.clock.now())
        await say(self._parts.report, status)
