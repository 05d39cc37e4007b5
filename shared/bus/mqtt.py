"""The bus over MQTT 5 and mutual TLS, by aiomqtt and paho.

Back-pressure is the protocol's own: the session announces a Receive Maximum and acknowledges a message only when
it has a place in its lane, so a slow handler holds the broker back instead of filling memory.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from shared.backoff import Backoff
from shared.bus import Handler
from shared.bus.lanes import Counts, Lanes
from shared.bus.session import Session
from shared.bus.stream import ClosingSocket
from shared.errors import TransportError
from shared.tls import judged_by

log = logging.getLogger(__name__)

RECEIVE_MAXIMUM = 32
"""Messages with QoS 1 that the broker may send before the first is acknowledged (MQTT 5, section 3.1.2.11.3)."""

IN_FLIGHT = 16
"""Own publications without a PUBACK; below mosquitto's `max_inflight_messages` of 20."""

STABLE_S = 5.0
"""A session that lived shorter does not reset the back-off: two holders of one identity would chase each other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where the broker is, and how both ends prove who they are."""

    host: str
    port: int
    ca: Path
    """Certificates (PEM) that may vouch for the broker."""

    certificate: Path
    """Own certificate chain (PEM); its common name is the session's identity."""

    key: Path
    now: Callable[[], float] | None = None
    """By which the broker's certificate is judged, Unix seconds; OpenSSL reads the machine's clock when None."""

    def context(self) -> ssl.SSLContext:
        """TLS 1.2 or newer, host name checked; files are read anew, so that a renewed certificate is taken up."""
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=str(self.ca))
        context.sslsocket_class = ClosingSocket
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(str(self.certificate), str(self.key))
        if self.now is not None:
            judged_by(context, self.ca.read_text(), now=self.now)
        return context


class MqttBus:
    """A session that heals itself; nothing survives in the broker between two sessions."""

    def __init__(
        self, endpoint: Endpoint, *, identity: str, random: Random, keepalive_s: int = 15, timeout_s: float = 10.0
    ) -> None:
        self._endpoint = endpoint
        self._identity = identity
        self._keepalive_s = keepalive_s
        self._timeout_s = timeout_s
        self._backoff = Backoff(first_s=0.5, most_s=30.0, random=random)
        self._lanes = Lanes()
        self._session: Session | None = None
        self._sessions = 0
        self._taken_over = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._subscribing: set[asyncio.Task[None]] = set()
        self._flight = asyncio.Semaphore(IN_FLIGHT)

    @property
    def connected(self) -> bool:
        return self._session is not None and not self._session.lost

    @property
    def sessions(self) -> int:
        return self._sessions

    @property
    def taken_over(self) -> int:
        return self._taken_over

    def reopen(self) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._hang_up)

    @property
    def counts(self) -> Counts:
        """What became of the messages that arrived."""
        return self._lanes.counts

    def on(self, topic_filter: str, handler: Handler) -> None:
        lane = self._lanes.add(topic_filter, handler)
        if self._session is not None:
            task = asyncio.create_task(self._session.subscribe(lane), name=f"subscribe {topic_filter}")
            self._subscribing.add(task)
            task.add_done_callback(self._subscribing.discard)

    async def off(self, topic_filter: str) -> None:
        await self._settled()
        if self._lanes.remove(topic_filter) is not None and self._session is not None:
            await self._session.unsubscribe(topic_filter)

    async def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> None:
        await self._settled()
        async with self._flight:
            session = self._session
            if session is None or session.lost:
                raise TransportError("not connected to the broker", hint="The session reconnects by itself.")
            await session.publish(topic, payload, qos=qos, retain=retain)

    async def run(self) -> None:
        self._lanes.start()
        self._loop = loop = asyncio.get_running_loop()
        try:
            while True:
                opened = loop.time()
                try:
                    await self._one_session()
                except (aiomqtt.MqttError, OSError) as error:
                    log.info("%s: no session with the broker: %s", self._identity, error)
                if loop.time() - opened > STABLE_S:
                    self._backoff.reset()
                await asyncio.sleep(self._backoff.next())
        finally:
            await self._lanes.stop()

    async def _one_session(self) -> None:
        session = Session(self._client(), lanes=self._lanes)
        await session.open()
        try:
            await session.subscribe_all()
            self._session = session
            self._sessions += 1
            await session.pump()
        finally:
            self._taken_over += session.taken_over
            self._session = None
            await session.close()

    def _hang_up(self) -> None:
        if self._session is not None:
            self._session.hang_up()

    def _client(self) -> aiomqtt.Client:
        wishes = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho's constructor has no hints
        wishes.ReceiveMaximum = RECEIVE_MAXIMUM
        return aiomqtt.Client(
            self._endpoint.host,
            self._endpoint.port,
            identifier=self._identity,
            protocol=aiomqtt.ProtocolVersion.V5,
            tls_context=self._endpoint.context(),
            keepalive=self._keepalive_s,
            timeout=self._timeout_s,
            clean_start=True,
            properties=wishes,
            # small packets, each awaited: without this every other one waits 40 ms for a delayed TCP acknowledgement
            socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
            logger=logging.getLogger(f"{__name__}.paho"),
        )

    async def _settled(self) -> None:
        if self._subscribing:
            await asyncio.wait(self._subscribing)
