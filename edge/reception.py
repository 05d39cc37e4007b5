"""Where a device lets callers in: a thread of its own with a loop of its own, and few seats.

It shares nothing with the agent's loop but what is handed to it: a slow caller, a slow handshake or a defect here holds
up neither inference nor updates.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
import sys
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from edge.relay.address import Address
from shared.errors import HinterlandError

log = logging.getLogger(__name__)

BACKLOG = 64
"""Connections that the kernel holds while others are let in."""

Receive = Callable[[socket.socket], Awaitable[None]]
"""Sees one caller from the first byte to the last, and closes the socket."""


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """What a reception bears."""

    name: str
    """Of its thread, and in the log."""

    callers: str
    """What those who come are called in the log."""

    guests: int
    """Connections at once, with those that have not proven themselves yet."""

    visit_s: float = 3600.0
    """Seconds of one connection; a caller may come again."""

    retry_s: float = 30.0
    """Seconds until it tries again to listen: its address may come with a lease."""

    nice: int = 0
    """Priority of its thread, as nice(1) has it."""


class Reception:
    """Listens at one address and hands each caller to `receive`."""

    def __init__(self, house: House, *, listen: Address, receive: Receive) -> None:
        self._house = house
        self._listen = listen
        self._receive = receive
        self._stopping = threading.Event()
        self._inner: tuple[asyncio.AbstractEventLoop, asyncio.Task[None]] | None = None
        self.guests = 0
        """Connections now."""

        self.turned_away = 0
        """Connections closed unheard, for want of a seat."""

        self.port = 0
        """Where it listens now; 0 while it does not."""

    async def run(self) -> None:
        """Receive until cancelled; nothing that goes wrong here ends it."""
        step_back = partial(_step_back, self._house.nice)
        with ThreadPoolExecutor(1, thread_name_prefix=self._house.name, initializer=step_back) as threads:
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
                log.warning("no %s at %s: %s", self._house.name, self._listen, error.strerror or error)
            except Exception:
                log.exception("the %s failed", self._house.name)
            await asyncio.sleep(self._house.retry_s)

    async def _accept_forever(self) -> None:
        family = socket.AF_INET6 if ":" in self._listen.host else socket.AF_INET
        address = (self._listen.host, self._listen.port)
        with socket.create_server(address, family=family, backlog=BACKLOG) as listener:
            listener.setblocking(False)
            self.port = listener.getsockname()[1]
            log.info("%ss are served at %s", self._house.callers, self._listen)
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
        if self.guests >= self._house.guests:
            self.turned_away += 1
            guest.close()
            return
        self.guests += 1
        guests.create_task(self._host(guest), name=f"{self._house.name}-guest")

    async def _host(self, guest: socket.socket) -> None:
        """One connection, from handshake to its end; errors of guests are no errors of ours."""
        try:
            async with asyncio.timeout(self._house.visit_s):
                await self._receive(guest)
        except asyncio.IncompleteReadError:
            log.debug("a %s is done", self._house.callers)
        except (HinterlandError, OSError) as error:  # a timeout too, and what TLS says
            log.info("a %s was turned away: %s", self._house.callers, error or type(error).__name__)
        except Exception:
            log.exception("a %s was not served", self._house.callers)
        finally:
            self.guests -= 1


async def open_streams(
    guest: socket.socket, context: ssl.SSLContext | None, *, limit: int, handshake_s: float
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Streams over a connection that was let in, after its handshake where there is one.

    Args:
        guest: owned by the streams from here on, and closed where this fails.
        context: for TLS; None for none.
        limit: most bytes that wait to be read, about.
        handshake_s: most seconds that the guest may take to prove itself.
    """
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=limit)
    protocol = asyncio.StreamReaderProtocol(reader)
    # not `StreamWriter.start_tls`: what the guest sends before that is called would never reach TLS
    timeout = handshake_s if context is not None else None
    transport, _ = await loop.connect_accepted_socket(
        lambda: protocol, guest, ssl=context, ssl_handshake_timeout=timeout
    )
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


def _step_back(nice: int) -> None:
    """Lower the priority of this thread alone, which on Linux threads have for themselves."""
    if nice and sys.platform == "linux":
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), nice)
