"""The HTTP side of serving: a reception of its own (`edge.reception`), TLS beyond loopback."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

from edge.reception import House, Reception, open_streams
from edge.relay.address import Address
from edge.serving.desk import Desk
from edge.serving.gate import Gate
from edge.serving.http import PIECE, Connection, Manners
from edge.serving.rest import Rest
from edge.serving.tokens import Tokens
from shared.errors import FaultError

GUESTS = 32
"""Connections at once; most wait for their next request."""

Context = Callable[[], ssl.SSLContext | None]
"""What the next caller is met with; None for plain HTTP."""


class HttpServer:
    """Serves one desk at one address."""

    def __init__(
        self,
        desk: Desk,
        *,
        listen: Address,
        gate: Gate,
        tokens: Tokens | None,
        context: Context,
        manners: Manners | None = None,
    ) -> None:
        """Take who may ask (None for everybody) and what a connection begins with."""
        self._desk = desk
        self._gate = gate
        self._tokens = tokens
        self._context = context
        self._manners = manners or Manners()
        self._rest: Rest | None = None
        house = House(name="serving", callers="caller", guests=GUESTS, visit_s=24 * 3600.0)
        self._reception = Reception(house, listen=listen, receive=self._receive)

    @property
    def port(self) -> int:
        """Where it listens now; 0 while it does not."""
        return self._reception.port

    @property
    def guests(self) -> int:
        """Connections now."""
        return self._reception.guests

    async def run(self) -> None:
        """Serve until cancelled."""
        self._rest = Rest(self._desk, loop=asyncio.get_running_loop(), gate=self._gate, tokens=self._tokens)
        await self._reception.run()

    async def _receive(self, guest: socket.socket) -> None:
        assert self._rest is not None  # noqa: S101 - nobody is let in before `run`
        try:
            context = self._context()
        except FaultError:
            guest.close()
            raise
        reader, writer = await open_streams(guest, context, limit=PIECE, handshake_s=self._manners.handshake_s)
        await Connection(reader, writer, handle=self._rest.handle, manners=self._manners).run()


def is_loopback(address: Address) -> bool:
    """Whether only this machine can reach an address."""
    if address.host == "localhost":
        return True
    try:
        return ipaddress.ip_address(address.host.partition("%")[0]).is_loopback
    except ValueError:
        return False


class OwnCertificate:
    """A certificate of the owner's, for callers whose libraries take a device's own for no server's."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self._certificate = certificate
        self._key = key
        self._made: tuple[int, ssl.SSLContext] | None = None

    def context(self) -> ssl.SSLContext:
        """For the next caller; made anew when the file changes.

        Raises:
            FaultError: the files are missing or do not belong together.
        """
        try:
            stamp = self._certificate.stat().st_mtime_ns
            if self._made is None or self._made[0] != stamp:
                self._made = (stamp, server_context(self._certificate, self._key))
        except (OSError, ssl.SSLError) as error:
            raise FaultError(
                f"{self._certificate} and its key cannot be used", hint="Check serving.certificate and serving.key."
            ) from error
        return self._made[1]


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """For a side that listens and asks for no certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(str(certificate), str(key))
    return context
