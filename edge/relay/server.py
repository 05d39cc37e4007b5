"""The relay: a thread of its own, of low priority, that answers neighbours one chunk at a time.

It shares nothing with the agent's loop but the shelf: a slow disk, a slow neighbour or a defect here holds up neither
inference nor updates. Every bound below is small on purpose: who is turned away asks over MQTT, as without a relay.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from edge.relay.address import Address
from edge.relay.frames import MAX_REQUEST, Has, answer_head, decode_request, read_frame
from edge.relay.passport import Passport
from edge.relay.shelf import Shelf
from shared.errors import FaultError, HinterlandError, RefusedError
from shared.ids import DeviceId

log = logging.getLogger(__name__)

NICE = 10
"""Of the relay's thread: where models want the processor too, they get nine times as much."""

BACKLOG = 64
"""Connections that the kernel holds while others are let in."""


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
        self._listen = listen
        self._passport = passport
        self._manners = manners or Manners()
        self._stopping = threading.Event()
        self._inner: tuple[asyncio.AbstractEventLoop, asyncio.Task[None]] | None = None
        self._present: Counter[DeviceId] = Counter()
        self.guests = 0
        """Connections now."""

        self.served = 0
        """Chunks given."""

        self.port = 0
        """Where it listens now; 0 while it does not."""

    async def run(self) -> None:
        """Serve until cancelled; nothing that goes wrong here ends it."""
        with ThreadPoolExecutor(1, thread_name_prefix="relay", initializer=_step_back) as threads:
            work = asyncio.get_running_loop().run_in_executor(threads, self._serve)
            try:
                await asyncio.shield(work)
            finally:
                self._stop()
                await asyncio.wait([work])

    def _stop(self) -> None:
        self._stopping.set()
        if self._inner is not None:
            loop, task = self._inner
            with suppress(RuntimeError):  # it has ended meanwhile
                loop.call_soon_threadsafe(task.cancel)

    def _serve(self) -> None:
        with suppress(asyncio.CancelledError):
            asyncio.run(self._forever())

    async def _forever(self) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine that runs is a task's
        self._inner = asyncio.get_running_loop(), task
        while not self._stopping.is_set():
            try:
                await self._accept_forever()
            except OSError as error:
                log.warning("no relay at %s: %s", self._listen, error.strerror or error)
            except Exception:
                log.exception("the relay failed")
            await asyncio.sleep(self._manners.retry_s)

    async def _accept_forever(self) -> None:
        family = socket.AF_INET6 if ":" in self._listen.host else socket.AF_INET
        address = (self._listen.host, self._listen.port)
        with socket.create_server(address, family=family, backlog=BACKLOG) as listener:
            listener.setblocking(False)
            self.port = listener.getsockname()[1]
            log.info("neighbours are served at %s", self._listen)
            try:
                async with asyncio.TaskGroup() as guests:
                    while True:
                        await self._accept_once(listener, guests)
            finally:
                self.port = self.guests = 0

    async def _accept_once(self, listener: socket.socket, guests: asyncio.TaskGroup) -> None:
        try:
            guest, _ = await asyncio.get_running_loop().sock_accept(listener)
        except OSError as error:  # descriptors are short, or the guest is gone again
            log.debug("nobody let in: %s", error)
            await asyncio.sleep(0.1)
            return
        if self.guests >= self._manners.guests:
            guest.close()
            return
        self.guests += 1
        guests.create_task(self._host(guest), name="relay-guest")

    async def _host(self, guest: socket.socket) -> None:
        """One connection, from handshake to its end; errors of guests are no errors of ours."""
        try:
            async with asyncio.timeout(self._manners.visit_s):
                await self._converse(guest)
        except asyncio.IncompleteReadError:
            log.debug("a neighbour is done")
        except (HinterlandError, OSError) as error:  # a timeout too, and what TLS says
            log.info("a neighbour was turned away: %s", error or type(error).__name__)
        except Exception:
            log.exception("a neighbour was not served")
        finally:
            self.guests -= 1

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
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=MAX_REQUEST)
        protocol = asyncio.StreamReaderProtocol(reader)
        # not `StreamWriter.start_tls`: what the guest sends before that is called would never reach TLS
        transport, _ = await loop.connect_accepted_socket(
            lambda: protocol, guest, ssl=context, ssl_handshake_timeout=self._manners.handshake_s
        )  # which owns the socket now, and closes it where this fails
        return reader, asyncio.StreamWriter(transport, protocol, reader, loop)

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


def _step_back() -> None:
    """Lower the priority of this thread alone, which on Linux threads have for themselves."""
    if sys.platform == "linux":
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
