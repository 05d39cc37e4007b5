"""The tenant's signed files as the broker keeps them: a cache that the trust client reads.

Nothing here is believed. The version of the timestamp is looked at only to know when looking closer is worthwhile.
"""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from contextlib import suppress

import msgspec

from edge.link.doubts import Doubts
from shared import topics
from shared.bus import Bus, Delivery
from shared.clock import Clock, SystemClock
from shared.codec import unpack
from shared.errors import ContractError
from shared.ids import FleetId, TenantId
from shared.messages import Desired

MAX_FILES = 64 << 20
"""Bytes held in all; over it the files that came first go, and come back with the next session if they are needed."""

MAX_FILE = 4 << 20
"""Bytes of one file: what the broker lets through."""

TIMESTAMP = "metadata/timestamp.json"

ANSWER_S = 2.0
"""Most seconds that whoever found a copy wanting waits for the next one; a later one is a change like any other."""


class _Signed(msgspec.Struct, frozen=True):
    version: int


class _Timestamp(msgspec.Struct, frozen=True):
    signed: _Signed


class RetainedFiles:
    """Files by name, `metadata/<file>` or `targets/<path>`; implements `shared.trust.MetadataSource`."""

    def __init__(
        self, bus: Bus, *, tenant: TenantId, fleet: FleetId, most: int = MAX_FILES, clock: Clock | None = None
    ) -> None:
        self._bus = bus
        self._clock = clock or SystemClock()
        self._doubts = Doubts()
        self._prefix = topics.tuf_all(tenant).removesuffix("#")
        self._most = most
        self._files: OrderedDict[str, bytes] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()  # the trust client reads in a worker thread
        self._changed = asyncio.Event()
        self.pointer = 0
        """Newest timestamp version that the coordinator has pointed at; unsigned."""

        self.generation = 0
        """Grows with every file that comes or goes."""

        self.evicted = 0
        bus.on(topics.tuf_all(tenant), self._file)
        bus.on(topics.desired(fleet), self._pointed)

    def read(self, name: str) -> bytes | None:
        """The newest copy of a file, or None."""
        with self._lock:
            return self._files.get(name)

    @property
    def timestamp_version(self) -> int:
        """Version that the newest timestamp claims; 0 without one."""
        try:
            return msgspec.json.decode(self.read(TIMESTAMP) or b"", type=_Timestamp).signed.version
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return 0

    async def wait_for(self, timestamp_version: int) -> None:
        """Return once a timestamp of at least that version has come; only cancellation ends it otherwise."""
        while self.timestamp_version < timestamp_version:
            await self._changed.wait()

    async def wait_change(self, seen: int) -> None:
        """Return once `generation` is past `seen`."""
        while self.generation <= seen:
            await self._changed.wait()

    async def again(self, name: str) -> bool:
        """Ask the broker once more for a file whose copy failed its proof; say whether another copy has come.

        It is asked for by a subscription of its own, which brings that one file and needs no new session. The copy
        that failed stays until then: nobody believes it, and dropping it would make an altered file a missing one.
        Asked too often, or without a session, which brings every file as it begins, it does nothing.
        """
        if not self._bus.connected or not self._doubts.ask(name, now=self._clock.monotonic()):
            return False
        before, came, topic = self.read(name), asyncio.Event(), self._prefix + name

        async def take(delivery: Delivery) -> None:
            await self._file(delivery)
            came.set()

        self._bus.on(topic, take)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(ANSWER_S):
                    await came.wait()
        finally:
            await self._bus.off(topic)
        return self.read(name) not in (None, before)

    async def _file(self, delivery: Delivery) -> None:
        name = delivery.topic.removeprefix(self._prefix)
        if len(delivery.payload) > MAX_FILE:
            raise ContractError(f"{name[:120]!r} has {len(delivery.payload)} bytes, over the limit of {MAX_FILE}")
        with self._lock:
            self._bytes -= len(self._files.pop(name, b""))
            if delivery.payload:
                self._files[name] = delivery.payload
                self._bytes += len(delivery.payload)
            while self._bytes > self._most:
                self._bytes -= len(self._files.popitem(last=False)[1])
                self.evicted += 1
        self._wake()

    async def _pointed(self, delivery: Delivery) -> None:
        if delivery.payload:
            self.pointer = max(self.pointer, unpack(delivery.payload, Desired).timestamp)
            self._wake()

    def _wake(self) -> None:
        self.generation += 1
        self._changed.set()
        self._changed = asyncio.Event()
