"""One release's way through the machine: each step is checked against the table, journalled, then reported."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import msgspec

from edge.update.journal import Entry, Journal
from edge.update.machine import Event, step
from shared.clock import Clock
from shared.errors import FaultError, HinterlandError
from shared.messages import UpdateStatus

log = logging.getLogger(__name__)

Report = Callable[[UpdateStatus], Awaitable[None]]

MAX_REASON = 500
"""Characters."""


def reason_of(error: HinterlandError) -> str:
    """What an operator reads: who must act, and why."""
    return f"{error.code}: {error}"[:MAX_REASON]


async def say(report: Report, status: UpdateStatus) -> None:
    """Report; a disk that does not take the report must not stop the update either."""
    try:
        await report(status)
    except HinterlandError as error:
        log.error("%s %s was not reported: %s", status.release, status.stage, error)  # noqa: TRY400 - expected kind of error


class Course:
    """Where a release is. The step that a caller announces here is the effect it owes next."""

    def __init__(self, model: str, entry: Entry, *, journal: Journal, report: Report, clock: Clock) -> None:
        self.model = model
        self.entry = entry
        self.received = self.total = 0
        """Bytes of the variant, as far as they are known."""

        self._journal = journal
        self._report = report
        self._clock = clock

    async def go(self, event: Event, **facts: object) -> None:
        """Journal the stage after `event`, then report it.

        Raises:
            FaultError: the disk does not take the note; the effect must not happen.
        """
        entry = self._after(event, facts)
        await asyncio.to_thread(self._journal.write, self.model, entry)
        self.entry = entry
        await self.say(reason=entry.reason)

    async def finish(self, event: Event, **facts: object) -> None:
        """As `go`, where the effect is there already or cannot wait: a full disk only loses the note of it."""
        self.entry = self._after(event, facts)
        await self.note()
        await self.say(reason=self.entry.reason)

    async def note(self, **facts: object) -> None:
        """Write the step down again, with other facts."""
        self.entry = entry = msgspec.structs.replace(self.entry, **facts)
        try:
            await asyncio.to_thread(self._journal.write, self.model, entry)
        except FaultError as error:
            self._journal.hold(self.model, entry)
            log.error("%s is %s, but that was not written down: %s", entry.release, entry.stage, error)  # noqa: TRY400 - expected kind of error

    async def say(self, *, reason: str = "") -> None:
        """Report the step."""
        entry = self.entry
        status = UpdateStatus(
            model=self.model,
            release=entry.release,
            stage=entry.stage,
            slot=entry.slot,
            variant=entry.variant,
            reason=reason[:MAX_REASON],
            received=self.received,
            total=self.total,
            at=self._clock.now(),
        )
        await say(self._report, status)

    def _after(self, event: Event, facts: dict[str, object]) -> Entry:
        return msgspec.structs.replace(self.entry, stage=step(self.entry.stage, event), **facts)
