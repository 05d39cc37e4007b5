"""Answer devices that lack chunks: each chunk is published once for all who listen to its blob."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from cloud.distribution.blobs import BlobStore
from cloud.distribution.schedule import Key, Schedule
from shared import topics
from shared.bundle import CHUNK_SIZE
from shared.bus import Bus, Delivery
from shared.clock import Clock
from shared.codec import unpack
from shared.errors import ContractError, HinterlandError
from shared.ids import check_digest
from shared.messages import Want
from shared.topics import Up

log = logging.getLogger(__name__)

GATHER_S = 0.1
"""How long the first request for a chunk waits for other devices of its wave to subscribe."""

QUIET_S = 2.0
"""Least time between two copies of one chunk."""

IN_FLIGHT = 4
"""Chunks without a PUBACK: 1 MiB keeps a link busy, and leaves the session's other slots to acknowledgements."""

MAX_WANT = 4096
"""Chunks in one request: 1 GiB; the next request asks for more."""

MAX_WAITING = 1 << 16
"""Chunks that wait to be published, over all devices."""


class ChunkServer:
    """One turn takes what is due, reads it, publishes it."""

    def __init__(
        self,
        bus: Bus,
        blobs: BlobStore,
        *,
        clock: Clock,
        gather_s: float = GATHER_S,
        quiet_s: float = QUIET_S,
        group: str = "",
    ) -> None:
        self._bus = bus
        self._blobs = blobs
        self._clock = clock
        self._schedule = Schedule(gather_s=gather_s, quiet_s=quiet_s, most=MAX_WAITING)
        self._asked = asyncio.Event()
        self.published = 0
        self.bytes = 0
        self.turned_away = 0
        """Chunks asked for that were not there, or for which there was no room."""

        bus.on(topics.shared_up(Up.WANT, group=group), self._wanted)

    async def run(self) -> None:
        """Serve until cancelled."""
        async with asyncio.TaskGroup() as group:
            for number in range(IN_FLIGHT):
                group.create_task(self._serve(), name=f"chunks {number}")

    async def serve_once(self) -> bool:
        """Publish the next chunk that is due; False when none is.

        Raises:
            TransportError: it did not leave; devices ask again.
            FaultError: the store failed.
        """
        key = self._schedule.take(at=self._clock.monotonic())
        if key is None:
            return False
        data = await asyncio.to_thread(self._blobs.read, key.digest, key.index * CHUNK_SIZE, CHUNK_SIZE)
        if not data:
            self.turned_away += 1
            return True
        await self._bus.publish(topics.chunk(key.digest, key.index), data)
        self.published += 1
        self.bytes += len(data)
        return True

    async def _serve(self) -> None:
        while True:
            try:
                served = await self.serve_once()
            except HinterlandError as error:
                log.info("a chunk was not published: %s", error)
                continue
            if not served:
                await self._idle()

    async def _idle(self) -> None:
        self._asked.clear()
        with suppress(TimeoutError):
            # `wait_for` of Python 3.11 may swallow a cancellation
            async with asyncio.timeout(self._schedule.wait_s(at=self._clock.monotonic())):
                await self._asked.wait()

    async def _wanted(self, delivery: Delivery) -> None:
        device, _ = topics.parse_up(delivery.topic)
        want = unpack(delivery.payload, Want)
        digest = check_digest(want.digest)
        if len(want.indices) > MAX_WANT or not all(0 <= index < 10**7 for index in want.indices):
            raise ContractError(f"{device} asks for {len(want.indices)} chunks, or for ones that cannot be")
        if not await asyncio.to_thread(self._blobs.has, digest):
            self.turned_away += len(want.indices)
            log.warning("%s asks for the unknown blob %s", device, digest)
            return
        keys = [Key(digest, index) for index in want.indices]
        self.turned_away += self._schedule.ask(keys, at=self._clock.monotonic())
        self._asked.set()
