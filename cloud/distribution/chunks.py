"""Answer devices that lack chunks: each chunk is published once for all who listen to its blob in its form."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from cloud.distribution.blobs import BlobStore
from cloud.distribution.encoded import Encoded
from cloud.distribution.fleets import Fleets, MemoryFleets, lane_of
from cloud.distribution.layouts import EvenLayouts, Layouts
from cloud.distribution.schedule import Key, Schedule, Taken
from shared import topics
from shared.bus import Bus, Delivery
from shared.clock import Clock
from shared.codec import unpack
from shared.errors import ContractError, HinterlandError
from shared.forms import LATER, form_name
from shared.ids import check_digest
from shared.messages import Want
from shared.topics import Up

log = logging.getLogger(__name__)

GATHER_S = 0.1
"""How long the first request for a blob waits, at most, for other devices of its wave to subscribe."""

CALM_S = 0.025
"""How long nobody must have joined them for the wait to end sooner: a device that is alone has all it asks for."""

QUIET_S = 2.0
"""Least time between two copies of one chunk."""

TRANSIT_S = 10.0
"""How long a chunk may lie in the broker for a device that is slower than the others of its wave."""

IN_FLIGHT = 4
"""Chunks without a PUBACK: 1 MiB keeps a link busy, and leaves the session's other slots to acknowledgements."""

TOGETHER = 2
"""Chunks that one thread reads and packs in a row, while those before them leave."""

MAX_WANT = 4096
"""Chunks in one request: 1 GiB; the next request asks for more."""

MAX_WAITING = 1 << 16
"""Chunks that wait to be published, over all devices."""

PATIENCE_S = 30.0
"""A request that may wait longer than this is told so: devices take two minutes of silence for a broken link."""

LOOK_S = 2.0
"""Seconds between two looks at how fleets are to be served."""


class ChunkServer:
    """One turn takes what is due, reads it, publishes it."""

    def __init__(
        self,
        bus: Bus,
        blobs: BlobStore,
        *,
        clock: Clock,
        layouts: Layouts | None = None,
        fleets: Fleets | None = None,
        gather_s: float = GATHER_S,
        quiet_s: float = QUIET_S,
        group: str = "",
    ) -> None:
        """Serve `blobs` over `bus`.

        Args:
            bus: where devices ask and hear.
            blobs: the bytes.
            clock: for the schedule, and for time windows.
            layouts: how blobs are cut; at fixed offsets when None.
            fleets: how fleets are served; all alike when None.
            gather_s: see `Schedule`.
            quiet_s: see `Schedule`.
            group: of replicas that share the requests; empty for one coordinator.
        """
        self._bus = bus
        self._encoded = Encoded(blobs, layouts or EvenLayouts(blobs))
        self._fleets = fleets or MemoryFleets()
        self._clock = clock
        transit_s = min(TRANSIT_S, 5 * quiet_s)
        self._schedule = Schedule(
            gather_s=gather_s, calm_s=CALM_S, quiet_s=quiet_s, most=MAX_WAITING, transit_s=transit_s
        )
        self._asked = asyncio.Event()
        self.published = 0
        self.bytes = 0
        self.turned_away = 0
        """Chunks asked for that were not there, or for which there was no room."""

        bus.on(topics.shared_up(Up.WANT, group=group), self._wanted)

    async def run(self) -> None:
        """Serve until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._look(), name="lanes of chunks")
            for number in range(IN_FLIGHT // TOGETHER):
                group.create_task(self._serve(), name=f"chunks {number}")

    async def serve_once(self) -> bool:
        """Publish what is due, up to `TOGETHER` chunks; False when nothing is.

        Raises:
            TransportError: one did not leave; devices ask again.
            FaultError: the store failed.
        """
        taken = self._take()
        if not taken:
            return False
        made = await asyncio.to_thread(self._make, taken)
        at = self._clock.monotonic()
        for one, data in zip(taken, made, strict=True):
            self._schedule.settle(one.lane, 0 if isinstance(data, HinterlandError) else len(data), at=at)
        sent = [self._send(one.key, data) for one, data in zip(taken, made, strict=True)]
        for error in await asyncio.gather(*sent, return_exceptions=True):
            if error is not None:
                raise error
        return True

    def _take(self) -> list[Taken]:
        at = self._clock.monotonic()
        return [taken for _ in range(TOGETHER) if (taken := self._schedule.take(at=at)) is not None]

    def _make(self, taken: list[Taken]) -> list[bytes | HinterlandError]:
        """In a thread; a chunk that cannot be read spoils no other."""
        made: list[bytes | HinterlandError] = []
        for one in taken:
            try:
                made.append(self._encoded.message(one.key))
            except HinterlandError as error:
                made.append(error)
        return made

    async def _send(self, key: Key, data: bytes | HinterlandError) -> None:
        if isinstance(data, HinterlandError):
            raise data
        if not data:
            self.turned_away += 1
            return
        await self._bus.publish(_topic(key), data)
        self.published += 1
        self.bytes += len(data)

    async def look_once(self) -> None:
        """Serve fleets as operators want it now.

        Raises:
            FaultError: the store failed.
        """
        rules = await asyncio.to_thread(self._fleets.rules)
        self._schedule.arrange({fleet: lane_of(rule, at=self._clock.now()) for fleet, rule in rules.items()})
        self._asked.set()

    async def _look(self) -> None:
        while True:
            try:
                await self.look_once()
            except HinterlandError as error:
                log.warning("fleets are served as before: %s", error)
            await asyncio.sleep(LOOK_S)

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
        digest, form = check_digest(want.digest), form_name(want.forms, want.base)
        if len(want.indices) > MAX_WANT or not all(0 <= index < 10**7 for index in want.indices):
            raise ContractError(f"{device} asks for {len(want.indices)} chunks, or for ones that cannot be")
        there, fleet = await asyncio.to_thread(lambda: (self._encoded.chunks(digest), self._fleets.fleet(device)))
        if not there:
            log.warning("%s asks for the unknown blob %s", device, digest)
        base = want.base if form.startswith("d-") else ""
        keys = [Key(digest, index, form, base) for index in want.indices if index < there]
        self.turned_away += len(want.indices) - len(keys)
        self.turned_away += self._schedule.ask(keys, at=self._clock.monotonic(), fleet=fleet, device=device)
        self._asked.set()
        if keys and form and self._schedule.puts_off(fleet, beyond_s=PATIENCE_S):
            await self._bus.publish(_topic(keys[0]), LATER)


def _topic(key: Key) -> str:
    if not key.form:
        return topics.chunk(key.digest, key.index)
    return topics.formed_chunk(key.digest, key.form, key.index)
