"""The relay: a thread of its own, of low priority (`edge.reception`), that answers neighbours one chunk at a time.

It shares nothing with the agent's loop but the shelf. Every bound below is small on purpose: who is turned away asks
over MQTT, as without a relay.
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from edge.reception import House, Reception, open_streams
from edge.relay.address import Address
from edge.relay.frames import MAX_REQUEST, Has, answer_head, decode_request, read_frame
from edge.relay.passport import Passport
from edge.relay.shelf import Shelf
from shared.errors import FaultError, RefusedError
from shared.ids import DeviceId

NICE = 10
"""Of the relay's thread: where models want the processor too, they get nine times as much."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manners:
    """What a relay bears."""

    guests: int = 32
    """Connections at once, with those that have not proven themselves yet: each may hold a chunk in memory."""

    each: int = 2
    """Connections of one device: the second is of an agent that restarted and whose first is not known dead yet."""

    handshake_s: float = 10.0
    """Seconds to prove oneself; a small device on a slow processor takes a tenth of one."""

    request_s: float = 30.0
    """Seconds until the next request: neighbours ask twice a second while chunks are coming."""

    take_s: float = 20.0
    """Seconds to take one chunk of 256 KiB: below 13 KB/s it is no help any more."""

    visit_s: float = 3600.0
    """Seconds of one connection; a neighbour may come again."""

    retry_s: float = 30.0
    """Seconds until a relay tries again to listen: its address may come with a lease."""


class Relay:
    """Serves a shelf to the devices of one's own authority."""

    def __init__(self, shelf: Shelf, *, listen: Address, passport: Passport, manners: Manners | None = None) -> None:
        self._shelf = shelf
        self._passport = passport
        self._manners = manners = manners or Manners()
        house = House(
            name="relay",
            callers="neighbour",
            guests=manners.guests,
            visit_s=manners.visit_s,
            retry_s=manners.retry_s,
            nice=NICE,
        )
        self._reception = Reception(house, listen=listen, receive=self._converse)
        self._present: Counter[DeviceId] = Counter()
        self.served = 0
        """Chunks given."""

    @property
    def guests(self) -> int:
        """Connections now."""
        return self._reception.guests

    @property
    def port(self) -> int:
        """Where it listens now; 0 while it does not."""
        return self._reception.port

    async def run(self) -> None:
        """Serve until cancelled; nothing that goes wrong here ends it."""
        await self._reception.run()

    async def _converse(self, guest: socket.socket) -> None:
        reader, writer = await self._shake_hands(guest)
        transport = writer.transport
        try:
            device = self._passport.prove(transport.get_extra_info("ssl_object").getpeercert(binary_form=True))
            with self._seat(device):
                while True:
                    await self._answer_once(reader, writer)
        finally:
            transport.abort()

    async def _shake_hands(self, guest: socket.socket) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        try:
            context = self._passport.serving()
        except FaultError:
            guest.close()
            raise
        return await open_streams(guest, context, limit=MAX_REQUEST, handshake_s=self._manners.handshake_s)

    async def _answer_once(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(self._manners.request_s):
            body = await read_frame(reader, most=MAX_REQUEST)
        digests = decode_request(body)
        self._shelf.look()
        for digest in digests:
            has, data = self._shelf.give(digest)
            writer.write(answer_head(has, len(data)) + data)
            async with asyncio.timeout(self._manners.take_s):
                await writer.drain()
            self.served += has is Has.HERE

    @contextmanager
    def _seat(self, device: DeviceId) -> Iterator[None]:
        if self._present[device] >= self._manners.each:
            raise RefusedError(f"{device} is here {self._present[device]} times")
        self._present[device] += 1
        try:
            yield
        finally:
            self._present[device] -= 1
            self._present += Counter()  # forgets those who are gone
