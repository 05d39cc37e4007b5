"""What passes through one connection: PUBLISH and PUBACK go past paho, all other packets through it.

paho reads a packet byte by byte and writes each for itself, with a call to TLS every time, in which a busy thread may
take Python away from the event loop for milliseconds. Here one call brings all that has come, and one takes all that
was said since the event loop's last round.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Any

import aiomqtt
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.exception import MalformedPacket

from shared.bus.lanes import Counts
from shared.bus.packets import PUBACK, PUBLISH, Published, read_length, read_publish, write_puback, write_publish
from shared.errors import TransportError

LOOSE_MAXIMUM = 256
"""Messages with QoS 0 that may wait; our own senders use QoS 1, so more of them is somebody else's flood."""

READ = 64 << 10
"""Bytes that are asked for at a time."""


class Traffic:
    """The packets of one connection. Belongs to its event loop."""

    def __init__(self, client: aiomqtt.Client, *, counts: Counts) -> None:
        self.came: deque[Published] = deque()
        """Those with QoS 1 are bounded by the Receive Maximum, the others by `LOOSE_MAXIMUM`."""

        self.stirred = asyncio.Event()
        """Set when something came, or the connection ended."""

        self._loop = asyncio.get_running_loop()
        self._counts = counts
        self._client = client
        self._paho: Any = client._client
        self._paho.__dict__["_packet_read"] = self._read
        self._held = bytearray()
        self._out: list[bytes] = []
        self._unanswered: dict[int, asyncio.Future[str]] = {}

    def opened(self) -> None:
        """The connection is there; from now on its end is noticed."""
        self._client._disconnected.add_done_callback(self._ended)

    async def publish(self, topic: str, payload: bytes, *, retain: bool) -> None:
        """Publish with QoS 1 and wait for the PUBACK, also for one that refuses: who may not write is simply not heard.

        Raises:
            TransportError: the connection ended first, or the broker takes too long.
        """
        number = self._number()
        self.send(write_publish(topic, payload, qos=1, retain=retain, number=number))
        answer = self._unanswered[number] = self._loop.create_future()
        timer = self._loop.call_later(self._client.timeout, _answer, answer, "the broker did not acknowledge")
        try:
            wrong = await answer
        finally:
            timer.cancel()
            del self._unanswered[number]
        if wrong:
            raise TransportError(f"{wrong} {topic}")

    def acknowledge(self, message: Published) -> None:
        """Give the broker room for another one."""
        if message.qos:
            self.send(write_puback(message.number))

    def send(self, packet: bytes) -> None:
        """Send a packet, with all others of this round of the event loop."""
        if not self._out:
            self._loop.call_soon(self.flush)
        self._out.append(packet)

    def flush(self) -> None:
        """Hand to the socket what waits; paho keeps what it does not take, and goes on when it does."""
        packets, self._out = self._out, []
        if not packets or self._paho._sock is None:
            return
        whole = memoryview(b"".join(packets))  # a view, since paho cuts off what was sent each time
        size = len(whole)
        head = {"command": PUBACK, "mid": 0, "qos": 1, "pos": 0}  # paho has nothing to do once such a packet has left
        self._paho._out_packet.append({**head, "to_process": size, "packet": whole, "info": None})
        try:
            self._paho.loop_write()
        except Exception as error:  # the connection broke, in one of OpenSSL's many words
            self._fail(error)

    def _number(self) -> int:
        """A packet identifier that nothing on its way has; subscriptions take theirs from the same row."""
        number: int = self._paho._mid_generate()
        while number in self._unanswered:
            number = self._paho._mid_generate()
        return number

    def _read(self) -> MQTTErrorCode:
        """In place of paho's: receive, and do what complete packets say."""
        try:
            data = self._paho._sock_recv(READ)
        except BlockingIOError:
            return MQTTErrorCode.MQTT_ERR_AGAIN
        except OSError:
            return MQTTErrorCode.MQTT_ERR_CONN_LOST
        if not data:
            return MQTTErrorCode.MQTT_ERR_CONN_LOST
        self._paho._last_bytes_received = time.monotonic()  # paho asks for a sign of life when this is long ago
        self._held += data
        try:
            return self._take()
        except MalformedPacket:
            return MQTTErrorCode.MQTT_ERR_PROTOCOL

    def _take(self) -> MQTTErrorCode:
        done, size, said = 0, len(self._held), MQTTErrorCode.MQTT_ERR_SUCCESS
        with memoryview(self._held) as held:
            while said is MQTTErrorCode.MQTT_ERR_SUCCESS and done < size:
                try:
                    length, start = read_length(held, done + 1)
                except IndexError:
                    break  # its length has not come whole
                if start + length > size:
                    break
                said = self._handle(held[done], held[start : start + length])
                done = start + length
        del self._held[:done]
        return said

    def _handle(self, command: int, packet: memoryview) -> MQTTErrorCode:
        kind = command & 0xF0
        if kind == PUBLISH:
            self._keep(read_publish(command, packet))
        elif kind == PUBACK:
            if (answer := self._unanswered.get(int.from_bytes(packet[:2], "big"))) is not None:
                _answer(answer, "")
        else:
            self._paho._in_packet = {
                "command": command,
                "have_remaining": 1,
                "remaining_count": [],
                "remaining_mult": 1,
                "remaining_length": len(packet),
                "packet": bytearray(packet),
                "to_process": 0,
                "pos": 0,
            }
            return MQTTErrorCode(self._paho._packet_handle())
        return MQTTErrorCode.MQTT_ERR_SUCCESS

    def _keep(self, message: Published) -> None:
        if not message.qos and len(self.came) >= LOOSE_MAXIMUM:
            self._counts.flooded += 1
            return
        self.came.append(message)
        self.stirred.set()

    def _ended(self, _connection: object) -> None:
        for answer in self._unanswered.values():
            _answer(answer, "the connection broke before the broker acknowledged")
        self.stirred.set()

    def _fail(self, error: Exception) -> None:
        if not self._client._disconnected.done():
            self._client._disconnected.set_exception(error)


def _answer(answer: asyncio.Future[str], wrong: str) -> None:
    if not answer.done():
        answer.set_result(wrong)
