"""Chunks between the bus and the disk: what came while a thread was busy is taken with the next hop into one.

A hop costs more than a chunk's digest where other threads want the interpreter, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from shared.errors import HinterlandError

MOST = 8
"""Chunks that wait, and chunks taken in one hop: 2 MiB each. Who brings more waits, and with it the broker."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A chunk as it came."""

    index: int
    payload: bytes
    form: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of it."""

    index: int
    new: bool
    error: HinterlandError | None = None


class Intake:
    """One thread at a time takes what has come, in order."""

    def __init__(self, accept: Callable[[Arrival], bool], *, done: Callable[[Outcome], None]) -> None:
        """Take chunks.

        Args:
            accept: in a thread: proves and writes one; whether it was new. May raise a `HinterlandError`.
            done: in the event loop: told of each in turn.
        """
        self._accept = accept
        self._done = done
        self._waiting: asyncio.Queue[Arrival] = asyncio.Queue(MOST)

    @property
    def waiting(self) -> int:
        """Chunks that no thread has yet."""
        return self._waiting.qsize()

    async def offer(self, arrival: Arrival) -> None:
        """Queue a chunk; waits while there is no room."""
        await self._waiting.put(arrival)

    async def run(self) -> None:
        """Take chunks until cancelled; a thread in hand then ends by itself, and whoever waits for room gets it."""
        try:
            while True:
                await self.take_once()
        finally:
            self._all()

    async def take_once(self) -> None:
        """Wait for a chunk, then take all that have come."""
        first = await self._waiting.get()
        for outcome in await asyncio.to_thread(self._take, [first, *self._all()]):
            self._done(outcome)

    def _all(self) -> list[Arrival]:
        return [self._waiting.get_nowait() for _ in range(self._waiting.qsize())]

    def _take(self, arrivals: Sequence[Arrival]) -> list[Outcome]:
        return [self._one(arrival) for arrival in arrivals]

    def _one(self, arrival: Arrival) -> Outcome:
        try:
            return Outcome(arrival.index, self._accept(arrival))
        except HinterlandError as error:
            return Outcome(arrival.index, new=False, error=error)
