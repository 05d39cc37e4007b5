"""One turn of the coordinator's loop, and the loop that repeats it.

Every step is level-triggered: it reads what the database and the world say, and does what is missing. So a step may
fail, a turn may be cut off anywhere, and the next one goes on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from cloud.cluster.leadership import Alone, Term
from cloud.cluster.lease import FencedError
from cloud.distribution.metadata import MetadataPublisher
from cloud.release.repository import Repository
from shared.bus import Bus
from shared.clock import Clock
from shared.errors import HinterlandError
from shared.ids import FleetId

log = logging.getLogger(__name__)

Step = Callable[[], Awaitable[None]]


def in_thread(work: Callable[[], object]) -> Step:
    """A step of blocking work."""

    async def step() -> None:
        await asyncio.to_thread(work)

    return step


class Turn:
    """The steps in their order, and what was wrong with each the last time."""

    def __init__(self, steps: Sequence[tuple[str, Step]], *, term: Term | None = None) -> None:
        """Steps are taken while `term` lasts; for ever without one."""
        self._steps = steps
        self._term = term or Alone()
        self.health: dict[str, str] = {name: "ok" for name, _ in steps}

    async def reconcile_once(self) -> None:
        """Take every step; one that fails holds back none of the others. Who does not lead takes none."""
        leads = self._term.begin()
        for name, step in self._steps:
            self.health[name] = await self._take(name, step) if leads and self._term.lasts() else "ok"

    async def _take(self, name: str, step: Step) -> str:
        try:
            await step()
        except FencedError as error:
            log.warning("%s: %s", name, error)
            return "ok"  # the leader's health is the one that counts
        except HinterlandError as error:
            said = f"{error} {error.hint}".strip()
        except Exception as error:  # a mistake of ours in one step must not end the loop for all others
            log.exception("step %s made a mistake", name)
            said = f"internal: {type(error).__name__}"
        else:
            return "ok"
        if self.health[name] != said:  # once, not every turn
            log.warning("%s: %s", name, said)
        return said


@dataclass(slots=True)
class Publishing:
    """Keeps the broker's retained metadata equal to the repository's."""

    repository: Repository
    publisher: MetadataPublisher
    bus: Bus
    _done: tuple[int, int] = field(default=(-1, -1))

    async def step(self) -> None:
        """Publish what changed since the last time, or everything to a new session.

        Raises:
            TransportError: the session broke.
        """
        version, session = await asyncio.to_thread(lambda: self.repository.timestamp_version), self.bus.sessions
        if not self.bus.connected or ((version, session) == self._done and not self.publisher.disturbed):
            return
        files, fleets = await asyncio.to_thread(lambda: (self.repository.files(), self.repository.fleets()))
        await self.publisher.publish(files, fleets=[FleetId(fleet) for fleet in fleets], timestamp=version)
        self._done = (version, session)


@dataclass(slots=True)
class Seldom:
    """A step that is due only every `every_s` seconds, and again at once after a failure."""

    work: Callable[[], object]
    clock: Clock
    every_s: float
    _due: float = field(default=float("-inf"))

    def __call__(self) -> None:
        """Do it if it is due."""
        if self.clock.monotonic() >= self._due:
            self.work()
            self._due = self.clock.monotonic() + self.every_s


class Loop:
    """Repeats turns, at least every `every_s` seconds, and at once when woken."""

    def __init__(self, turn: Turn, *, every_s: float) -> None:
        self._turn = turn
        self._every_s = every_s
        self._woken = asyncio.Event()
        self._running: asyncio.AbstractEventLoop | None = None

    def wake(self) -> None:
        """Have the next turn begin now; safe from any thread."""
        if self._running is not None and not self._running.is_closed():
            self._running.call_soon_threadsafe(self._woken.set)

    async def run(self) -> None:
        """Turn until cancelled."""
        self._running = asyncio.get_running_loop()
        while True:
            self._woken.clear()
            await self._turn.reconcile_once()
            with suppress(TimeoutError):
                # not `wait_for`, which on Python 3.11 can lose a cancellation that comes as the wait ends
                async with asyncio.timeout(self._every_s):
                    await self._woken.wait()
