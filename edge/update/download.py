"""Fetch a variant: ask for the chunks that are lacking, prove each as it arrives, ask again after silence."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from random import Random

from edge.update.partial import PartialFile
from shared import topics
from shared.backoff import Backoff
from shared.bus import Bus, Delivery
from shared.clock import Clock
from shared.codec import pack
from shared.errors import HinterlandError, TransportError, TrustError
from shared.ids import DeviceId, check_digest
from shared.messages import Want
from shared.topics import Up

log = logging.getLogger(__name__)

WINDOW = 128
"""Chunks asked for at once: 32 MiB, half of what the broker queues for one client."""

MAX_WRONG = 8
"""Wrong copies of one chunk after which this attempt ends."""

Notice = Callable[["Progress"], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to wait for what."""

    silence_s: float = 1.0
    """Seconds without a chunk before asking again, to which a growing back-off is added."""

    most_s: float = 30.0
    """Most seconds of that back-off."""

    give_up_s: float = 120.0
    """Seconds without a chunk, while connected, after which this attempt ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where a download stands."""

    received: int
    total: int
    reason: str = ""
    """What was refused last."""


class Download:
    """One attempt at one variant; what it proved stays on disk for the next."""

    def __init__(
        self, bus: Bus, partial: PartialFile, *, device: DeviceId, clock: Clock, random: Random, patience: Patience
    ) -> None:
        self._bus = bus
        self._partial = partial
        self._device = device
        self._clock = clock
        self._patience = patience
        self._backoff = Backoff(first_s=patience.silence_s / 2, most_s=patience.most_s, random=random)
        self._arrived = asyncio.Event()
        self._failure: HinterlandError | None = None
        self._wrong: Counter[int] = Counter()
        self._asked: set[int] = set()
        self._reason = ""

    @property
    def wrong(self) -> int:
        """Chunks that were refused."""
        return self._wrong.total()

    async def run(self, notice: Notice) -> None:
        """Return once every chunk is proven and written.

        Args:
            notice: told when a chunk was refused.

        Raises:
            TransportError: nothing came for too long, or somebody on the way alters a chunk again and again.
            FaultError: the disk failed.
        """
        if not self._partial.missing:
            return
        digest = check_digest(self._partial.variant.digest)
        self._bus.on(topics.chunks(digest), self._chunk)
        try:
            await self._until_complete(notice)
        finally:
            await self._bus.off(topics.chunks(digest))

    async def _until_complete(self, notice: Notice) -> None:
        alive = self._clock.monotonic()
        while missing := self._partial.missing:
            await self._ask(missing[:WINDOW])
            if await self._listen(notice) or not self._bus.connected:
                alive = self._clock.monotonic()
            elif self._clock.monotonic() - alive > self._patience.give_up_s:
                raise TransportError(f"no chunk came for {self._patience.give_up_s:.0f} s")

    async def _ask(self, indices: list[int]) -> None:
        self._asked = set(indices)
        want = Want(digest=self._partial.variant.digest, indices=indices)
        with suppress(TransportError):  # not connected: as good as silence
            await self._bus.publish(topics.up(self._device, Up.WANT), pack(want))

    async def _listen(self, notice: Notice) -> bool:
        """Wait until the window is complete or silent; whether anything came."""
        before = self._partial.received
        pause = self._patience.silence_s + self._backoff.next()
        while self._asked:
            self._arrived.clear()
            try:
                async with asyncio.timeout(pause):  # `wait_for` of Python 3.11 may swallow a cancellation
                    await self._arrived.wait()
            except TimeoutError:
                break
            await self._tell(notice)
        if self._partial.received > before:
            self._backoff.reset()
        return self._partial.received > before

    async def _tell(self, notice: Notice) -> None:
        if self._failure is not None:
            raise self._failure
        if self._reason:
            reason, self._reason = self._reason, ""
            await notice(Progress(received=self._partial.received, total=self._partial.variant.size, reason=reason))

    async def _chunk(self, delivery: Delivery) -> None:
        _, index = topics.parse_chunk(delivery.topic)
        try:
            if index >= len(self._partial.variant.chunks) or not await self._accept(index, delivery.payload):
                return  # for somebody else; it must not pass for an answer to us
        except TrustError as error:
            self._refuse(index, error)
        except HinterlandError as error:
            self._failure = error
        self._arrived.set()

    async def _accept(self, index: int, data: bytes) -> bool:
        new = await asyncio.to_thread(self._partial.accept, index, data)
        self._asked.discard(index)
        return new

    def _refuse(self, index: int, error: TrustError) -> None:
        self._wrong[index] += 1
        self._reason = f"{error.code}: {error}; asked for again"
        log.warning("%s (%d times)", error, self._wrong[index])
        if self._wrong[index] >= MAX_WRONG:
            self._failure = TransportError(
                f"{error}, {MAX_WRONG} times in a row",
                hint="Something between the coordinator and this device alters the bytes.",
            )
