"""Packets on a real connection: cut anywhere, many at once, unanswered, or wrong."""

import asyncio
import logging
from contextlib import asynccontextmanager, suppress

import aiomqtt
import pytest

from shared.bus import Delivery
from shared.bus.lanes import Lanes
from shared.bus.packets import read_length, read_publish, write_length, write_puback
from shared.bus.session import Session
from shared.bus.traffic import LOOSE_MAXIMUM
from shared.errors import TransportError

CONNACK = bytes.fromhex("20 03 00 00 00")
LANE = 1


def deliver(topic, payload, *, qos=1, number=1, lane=LANE):
    """A PUBLISH as a broker sends it."""
    name, properties = topic.encode(), b"\x0b" + bytes([lane])
    body = len(name).to_bytes(2, "big") + name + (number.to_bytes(2, "big") if qos else b"")
    body += bytes([len(properties)]) + properties + payload
    return bytes([0x30 | qos << 1]) + write_length(len(body)) + body


class Broker:
    """A peer that says what it is told to; what it hears becomes packets."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    async def say(self, data):
        self.writer.write(data)
        await self.writer.drain()

    async def hear(self):
        """The next packet: its first byte and what follows the head."""
        data = await self.reader.readexactly(2)
        while data[-1] > 127:
            data += await self.reader.readexactly(1)
        length, _ = read_length(data, 1)
        return data[0], await self.reader.readexactly(length)


@asynccontextmanager
async def connected(*, timeout=5.0, handler=None):
    """A session whose one lane has `handler`, and the broker's end of it."""
    came = asyncio.get_running_loop().create_future()

    async def serve(reader, writer):
        broker = Broker(reader, writer)
        await broker.hear()
        await broker.say(CONNACK)
        came.set_result(broker)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    client = aiomqtt.Client(
        "127.0.0.1", port, protocol=aiomqtt.ProtocolVersion.V5, logger=logging.getLogger("test"), timeout=timeout
    )
    lanes = Lanes()
    if handler is not None:
        lanes.add("#", handler)
        lanes.start()
    session = Session(client, lanes=lanes)
    await session.open()
    broker = await came
    pump = asyncio.create_task(session.pump())
    try:
        yield session, broker, lanes
    finally:
        broker.writer.close()
        with suppress(aiomqtt.MqttError):
            await pump
        await session.close()
        await lanes.stop()
        server.close()
        await server.wait_closed()


class Heard(list):
    async def __call__(self, delivery):
        self.append(delivery)


@pytest.mark.parametrize("piece", [1, 3, 1000])
async def test_packets_arrive_however_the_bytes_are_cut(piece, until):
    heard = Heard()
    large = bytes(range(256)) * 1200
    async with connected(handler=heard) as (_, broker, _lanes):
        data = b"".join(deliver(f"t/{n}", b"%d" % n, number=n) for n in range(1, 21))
        for start in range(0, len(data), piece):
            await broker.say(data[start : start + piece])
            if piece < 10:
                await asyncio.sleep(0)
        await broker.say(deliver("large", large, number=21) + deliver("last", b"", number=22))
        await until(lambda: len(heard) == 22)
        assert heard[:20] == [Delivery(f"t/{n}", b"%d" % n) for n in range(1, 21)]
        assert heard[20:] == [Delivery("large", large), Delivery("last", b"")]
        assert [await broker.hear() for _ in range(22)] == [(0x40, n.to_bytes(2, "big")) for n in range(1, 23)]


async def test_publications_end_as_they_are_acknowledged():
    async with connected() as (session, broker, _lanes):
        sending = [asyncio.create_task(session.publish("t", b"%d" % n, qos=1, retain=n == 1)) for n in range(5)]
        packets = [read_publish(*await broker.hear()) for _ in sending]
        assert [(p.topic, p.payload, p.retained) for p in packets] == [("t", b"%d" % n, n == 1) for n in range(5)]
        assert len({p.number for p in packets}) == 5
        refused = b"\x40\x03" + packets[3].number.to_bytes(2, "big") + b"\x87"
        await broker.say(write_puback(packets[4].number) + refused + write_puback(60_000))
        await asyncio.wait([sending[3], sending[4]])
        assert [task.done() for task in sending] == [False, False, False, True, True]
        await broker.say(b"".join(write_puback(p.number) for p in packets[:3]))
        await asyncio.gather(*sending)


async def test_a_publication_that_nobody_acknowledges_is_a_fault_of_the_link():
    async with connected(timeout=0.2) as (session, broker, _lanes):
        with pytest.raises(TransportError, match="did not acknowledge t/1"):
            await session.publish("t/1", b"", qos=1, retain=False)
        sending = asyncio.create_task(session.publish("t/2", b"", qos=1, retain=False))
        await broker.hear()
        await broker.say(write_puback(read_publish(*await broker.hear()).number))
        await sending


async def test_an_end_of_the_connection_ends_what_waits():
    async with connected() as (session, broker, _lanes):
        sending = asyncio.create_task(session.publish("t", b"", qos=1, retain=False))
        await broker.hear()
        broker.writer.close()
        with pytest.raises(TransportError, match="broke before"):
            await sending
        assert session.lost


async def test_a_packet_identifier_on_its_way_is_not_given_twice():
    async with connected() as (session, broker, _lanes):
        first = asyncio.create_task(session.publish("first", b"", qos=1, retain=False))
        number = read_publish(*await broker.hear()).number
        session._paho._last_mid = number - 1 or 65_535
        second = asyncio.create_task(session.publish("second", b"", qos=1, retain=False))
        other = read_publish(*await broker.hear()).number
        assert other != number
        await broker.say(write_puback(number) + write_puback(other))
        await asyncio.gather(first, second)


async def test_what_comes_without_acknowledgement_is_bounded_and_counted(until):
    gate, handled = asyncio.Event(), []

    async def slow(delivery):
        await gate.wait()
        handled.append(delivery.payload)

    async with connected(handler=slow) as (session, broker, lanes):
        await broker.say(b"".join(deliver("t", b"%d" % n, qos=0) for n in range(2000)))
        await until(lambda: lanes.counts.flooded > 0)
        assert len(session._traffic.came) <= LOOSE_MAXIMUM
        gate.set()
        await broker.say(deliver("t", b"end", number=9))
        await until(lambda: handled[-1:] == [b"end"])
        assert len(handled) + lanes.counts.flooded == 2001


@pytest.mark.parametrize(
    "wrong",
    [b"\x32\x03\0\x09t", b"\x36\x06\0\1t\0\1\0", b"\x30\xff\xff\xff\xff\x01", b"\x30\x05\0\1\xff\0\0", b"\x00\x00"],
    ids=["no topic", "quality 2", "endless length", "no text", "no packet"],
)
async def test_a_wrong_packet_ends_the_session(wrong, until):
    heard = Heard()
    async with connected(handler=heard) as (session, broker, _lanes):
        await broker.say(deliver("t", b"before", number=1) + wrong)
        await until(lambda: session.lost)
        await until(lambda: heard == [Delivery("t", b"before")])
