"""One MQTT connection, from CONNECT to its end.

aiomqtt 2.5 has no public way to acknowledge by hand, to hang up, or to see that a connection was lost; the paho
client behind it has. This file and `shared.bus.traffic` are the places that reach for it.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from shared.bus import Delivery
from shared.bus.lanes import Lane, Lanes
from shared.bus.traffic import Traffic
from shared.errors import TransportError

log = logging.getLogger(__name__)

T = TypeVar("T")

SESSION_TAKEN_OVER = 0x8E
"""MQTT 5, section 3.14.2.1."""


async def _apart(call: Coroutine[Any, Any, T]) -> T:
    """Await in a task of its own: aiomqtt uses `wait_for`, which in Python 3.11 may swallow our cancellation."""
    task = asyncio.ensure_future(call)
    try:
        await asyncio.wait((task,))
    finally:
        task.cancel()
    return task.result()


def _require_open(opening: asyncio.Future[aiomqtt.Client], lost: asyncio.Future[None]) -> None:
    if not opening.done():
        raise aiomqtt.MqttError(f"the broker hung up: {lost.exception()}")
    opening.result()


class Session:
    """One connection, from CONNECT to its end."""

    def __init__(self, client: aiomqtt.Client, *, lanes: Lanes) -> None:
        self._client = client
        self._lanes = lanes
        self._loop, self._thread = asyncio.get_running_loop(), threading.get_ident()
        self._subscribed: set[Lane] = set()
        self._paho: Any = client._client
        self._paho.on_socket_register_write = self._register_write
        self._traffic = Traffic(client, counts=lanes.counts)
        client.pending_calls_threshold = 1 << 16  # only a log line; the number is bounded by IN_FLIGHT

    @property
    def lost(self) -> bool:
        """Whether the connection has ended."""
        return self._client._disconnected.done()

    @property
    def taken_over(self) -> bool:
        """Whether the broker ended the connection because another client came with the same identity."""
        ended = self._client._disconnected
        error = ended.exception() if ended.done() and not ended.cancelled() else None
        code = getattr(error, "rc", None)
        return getattr(code, "value", None) == SESSION_TAKEN_OVER

    def hang_up(self) -> None:
        """Disconnect in good order; `pump` then ends."""
        self._traffic.flush()
        self._paho.disconnect()

    async def open(self) -> None:
        """Connect; paho does so in a thread that cannot be interrupted, so a cancellation waits for its end.

        Raises:
            MqttError: no connection; with TLS 1.3 the refusal of a certificate ends it only after the handshake.
        """
        opening = asyncio.ensure_future(self._client.__aenter__())
        lost = self._client._disconnected
        try:
            await asyncio.wait((opening, lost), return_when=asyncio.FIRST_COMPLETED)
            _require_open(opening, lost)
        except BaseException:
            await self._abandon(opening)
            raise
        self._traffic.opened()

    async def _abandon(self, opening: asyncio.Future[aiomqtt.Client]) -> None:
        if not self.lost:
            with suppress(aiomqtt.MqttError):
                await asyncio.shield(opening)
        opening.cancel()
        await asyncio.gather(opening, return_exceptions=True)
        await self.close()

    async def close(self) -> None:
        """Disconnect in good order where there still is a connection, and hang up where there is not."""
        with suppress(aiomqtt.MqttError):
            await _apart(self._client.__aexit__(None, None, None))
        self._paho._sock_close()  # after an error in reading aiomqtt leaves it open, and asyncio reads on and on
        if self.lost and not self._client._disconnected.cancelled():
            self._client._disconnected.exception()  # seen: asyncio would complain about it otherwise

    def _register_write(self, paho: Any, _userdata: object, socket_: Any) -> None:
        """As aiomqtt does, but not for a socket that was closed meanwhile: its number may be another one's by then."""

        def write() -> None:
            try:
                paho.loop_write()
            except Exception as error:  # the connection broke, in one of OpenSSL's many words
                if not self.lost:
                    self._client._disconnected.set_exception(error)

        def register() -> None:
            if paho.socket() is socket_:
                self._loop.add_writer(socket_.fileno(), write)

        if threading.get_ident() == self._thread:
            register()
        else:  # paho's connecting one
            self._loop.call_soon_threadsafe(register)

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
            codes = await _apart(
                self._client.subscribe(lane.topic_filter, options=SubscribeOptions(qos=1), properties=properties)
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
            await _apart(self._client.unsubscribe(topic_filter))

    async def publish(self, topic: str, payload: bytes, *, qos: int, retain: bool) -> None:
        """Publish; with QoS 1 wait for the PUBACK or the end of the connection, whatever comes first.

        Raises:
            TransportError: the end came first.
        """
        if qos:
            await self._traffic.publish(topic, payload, retain=retain)
            return
        sending = asyncio.ensure_future(self._client.publish(topic, payload, qos=qos, retain=retain))
        try:
            await asyncio.wait((sending, self._client._disconnected), return_when=asyncio.FIRST_COMPLETED)
            if not sending.done():
                raise TransportError(f"the connection broke before {topic} was sent")
            sending.result()
        except aiomqtt.MqttError as error:
            raise TransportError(f"{topic} was not published: {error}") from error
        finally:
            sending.cancel()

    async def pump(self) -> None:
        """Move messages into lanes until the connection ends, and with it what has come.

        Raises:
            MqttError: it did.
        """
        traffic = self._traffic
        while True:
            while traffic.came:
                message = traffic.came.popleft()
                delivery = Delivery(message.topic, message.payload, retained=message.retained)
                for identifier in message.subscriptions:
                    await self._lanes.offer(identifier, delivery)
                traffic.acknowledge(message)
            if self.lost:
                raise aiomqtt.MqttError("the connection ended") from self._client._disconnected.exception()
            traffic.stirred.clear()
            await traffic.stirred.wait()
