"""The bus over MQTT 5 and mutual TLS, by aiomqtt and paho.

Back-pressure is the protocol's own: the session announces a Receive Maximum and acknowledges a message only when
it has a place in its lane, so a slow handler holds the broker back instead of filling memory. aiomqtt 2.5 offers no
manual acknowledgement; the paho client behind it does, and `_Session` is the one place that reaches for it.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from shared.backoff import Backoff
from shared.bus import Delivery, Handler
from shared.bus.lanes import Counts, Lane, Lanes
from shared.errors import TransportError

log = logging.getLogger(__name__)

RECEIVE_MAXIMUM = 32
"""Messages with QoS 1 that the broker may send before the first is acknowledged (MQTT 5, section 3.1.2.11.3)."""

LOOSE_MAXIMUM = 256
"""Messages with QoS 0 that may wait; our own senders use QoS 1, so more of them is somebody else's flood."""

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

    def context(self) -> ssl.SSLContext:
        """TLS 1.2 or newer, host name checked; files are read anew, so that a renewed certificate is taken up."""
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=str(self.ca))
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(str(self.certificate), str(self.key))
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
        self._session: _Session | None = None
        self._sessions = 0
        self._subscribing: set[asyncio.Task[None]] = set()
        self._flight = asyncio.Semaphore(IN_FLIGHT)

    @property
    def connected(self) -> bool:
        return self._session is not None and not self._session.lost

    @property
    def sessions(self) -> int:
        return self._sessions

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
        loop = asyncio.get_running_loop()
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
        session = _Session(self._client(), lanes=self._lanes)
        await session.open()
        try:
            await session.subscribe_all()
            self._session = session
            self._sessions += 1
            await session.pump()
        finally:
            self._session = None
            await session.close()

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
            queue_type=_Arrivals,
            # small packets, each awaited: without this every other one waits 40 ms for a delayed TCP acknowledgement
            socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
            logger=logging.getLogger(f"{__name__}.paho"),
        )

    async def _settled(self) -> None:
        if self._subscribing:
            await asyncio.wait(self._subscribing)


class _Arrivals(asyncio.Queue[aiomqtt.Message]):
    """Messages that arrived; those with QoS 1 are bounded by the Receive Maximum, the others here."""

    def put_nowait(self, item: aiomqtt.Message) -> None:
        if item.qos == 0 and self.qsize() >= LOOSE_MAXIMUM:
            raise asyncio.QueueFull
        super().put_nowait(item)


class _Session:
    """One connection, from CONNECT to its end."""

    def __init__(self, client: aiomqtt.Client, *, lanes: Lanes) -> None:
        self._client = client
        self._lanes = lanes
        self._subscribed: set[Lane] = set()
        self._paho: Any = client._client  # aiomqtt 2.5 has no public way to acknowledge by hand
        self._paho.manual_ack_set(True)
        client.pending_calls_threshold = 1 << 16  # only a log line; the number is bounded by IN_FLIGHT

    @property
    def lost(self) -> bool:
        """Whether the connection has ended."""
        return self._client._disconnected.done()  # the public way is to wait for a message to fail

    async def open(self) -> None:
        """Connect; paho does so in a thread that cannot be interrupted, so a cancellation waits for its end."""
        opening = asyncio.ensure_future(self._client.__aenter__())
        try:
            await asyncio.shield(opening)
        except asyncio.CancelledError:
            with suppress(aiomqtt.MqttError):
                await opening
                await self.close()
            raise

    async def close(self) -> None:
        """Disconnect in good order where there still is a connection."""
        with suppress(aiomqtt.MqttError):
            await self._client.__aexit__(None, None, None)

    async def subscribe_all(self) -> None:
        """Make every subscription there is, also those added meanwhile."""
        while missing := [lane for lane in self._lanes.open() if lane not in self._subscribed]:
            await asyncio.gather(*(self.subscribe(lane) for lane in missing))

    async def subscribe(self, lane: Lane) -> None:
        """Subscribe under the lane's identifier; a failure ends the session, which then starts over."""
        self._subscribed.add(lane)
        properties = Properties(PacketTypes.SUBSCRIBE)  # type: ignore[no-untyped-call]  # paho's constructor has no hints
        properties.SubscriptionIdentifier = lane.identifier
        try:
            codes = await self._client.subscribe(
                lane.topic_filter, options=SubscribeOptions(qos=1), properties=properties
            )
        except aiomqtt.MqttError as error:
            log.info("subscription to %s failed: %s", lane.topic_filter, error)
            self._paho.disconnect()
            return
        if any(getattr(code, "is_failure", False) for code in codes):
            log.warning("the broker refused the subscription to %s", lane.topic_filter)

    async def unsubscribe(self, topic_filter: str) -> None:
        """Unsubscribe; a lost connection has done so already."""
        with suppress(aiomqtt.MqttError):
            await self._client.unsubscribe(topic_filter)

    async def publish(self, topic: str, payload: bytes, *, qos: int, retain: bool) -> None:
        """Publish; with QoS 1 wait for the PUBACK or the end of the connection, whatever comes first."""
        sending = asyncio.ensure_future(self._client.publish(topic, payload, qos=qos, retain=retain))
        try:
            await asyncio.wait((sending, self._client._disconnected), return_when=asyncio.FIRST_COMPLETED)
            if not sending.done():
                raise TransportError(f"the connection broke before {topic} was acknowledged")
            sending.result()
        except aiomqtt.MqttError as error:
            raise TransportError(f"{topic} was not published: {error}") from error
        finally:
            sending.cancel()

    async def pump(self) -> None:
        """Move messages into lanes until the connection ends."""
        async for message in self._client.messages:
            delivery = Delivery(str(message.topic), bytes(message.payload), retained=message.retain)
            for identifier in getattr(message.properties, "SubscriptionIdentifier", ()):
                await self._lanes.offer(identifier, delivery)
            if message.qos:
                self._paho.ack(message.mid, message.qos)
