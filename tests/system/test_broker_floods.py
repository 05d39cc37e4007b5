"""One device against all others: packets too large, a reader that does not read, connections by the hundred."""

from __future__ import annotations

import asyncio
import signal
import ssl
import subprocess
import time
from pathlib import Path
from random import Random

import pytest

from cloud.devices.broker import MAX_PACKET, MAX_QUEUED_BYTES, Grant
from shared import topics
from shared.bus.mqtt import MqttBus
from shared.errors import TransportError
from shared.ids import device_id, fleet_id, sha256, tenant_id

pytestmark = pytest.mark.system

HOSTILE, HONEST = device_id("device-a"), device_id("device-b")
GRANTS = [Grant(name, fleet_id("north"), tenant_id("acme")) for name in (HOSTILE, HONEST)]


class Heard(list):
    async def __call__(self, delivery):
        self.append(len(delivery.payload))


def bus(mosquitto, name):
    return MqttBus(mosquitto.endpoint(name), identity=name, random=Random(1), timeout_s=60)


def resident(pid):
    """Bytes of memory that a process has."""
    line = next(row for row in Path(f"/proc/{pid}/status").read_text().splitlines() if row.startswith("VmRSS"))
    return int(line.split()[1]) << 10


async def test_a_packet_that_is_too_large_ends_its_sender_and_nobody_else(make_mosquitto, running, until):
    mosquitto = make_mosquitto(GRANTS)
    coordinator, hostile, honest = (bus(mosquitto, name) for name in ("coordinator", HOSTILE, HONEST))
    heard = Heard()
    coordinator.on("hl/1/d/+/up/telemetry", heard)
    async with running(coordinator, hostile, honest):
        with pytest.raises(TransportError):
            await hostile.publish(topics.up(HOSTILE, topics.Up.TELEMETRY), bytes(MAX_PACKET + 1))
        await honest.publish(topics.up(HONEST, topics.Up.TELEMETRY), b"honest")
        await until(lambda: heard == [6])
        assert (honest.sessions, coordinator.sessions) == (1, 1)
        await until(lambda: hostile.connected)  # it may come back, and behave
        await hostile.publish(topics.up(HOSTILE, topics.Up.TELEMETRY), b"better")
        await until(lambda: heard == [6, 6])


async def test_a_reader_that_stops_reading_costs_bounded_memory_and_holds_nobody_up(make_mosquitto, running, until):
    mosquitto = make_mosquitto(GRANTS)
    blob, chunk = sha256(b"model"), bytes(256 << 10)
    count = 3 * MAX_QUEUED_BYTES // len(chunk)
    hostile = mosquitto.endpoint(HOSTILE)
    argv = [
        "mosquitto_sub",
        "-V",
        "5",
        "-h",
        "127.0.0.1",
        "-p",
        str(hostile.port),
        "-q",
        "1",
        "-t",
        topics.chunks(blob),
    ]
    argv += ["--cafile", str(hostile.ca), "--cert", str(hostile.certificate), "--key", str(hostile.key), "-F", "%l"]
    slow = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
    try:
        coordinator, honest = bus(mosquitto, "coordinator"), bus(mosquitto, HONEST)
        heard = Heard()
        honest.on(topics.chunks(blob), heard)
        async with running(coordinator, honest):
            await asyncio.sleep(0.5)
            before = resident(mosquitto.broker.pid)
            slow.send_signal(signal.SIGSTOP)
            most = before
            for first in range(0, count, 8):
                await asyncio.gather(
                    *(coordinator.publish(topics.chunk(blob, n), chunk) for n in range(first, min(first + 8, count)))
                )
                most = max(most, resident(mosquitto.broker.pid))
                # no faster than whoever reads: the broker drops what a queue has no room for, and then nobody hears all
                await until(lambda: len(heard) == min(first + 8, count))  # noqa: B023  awaited in the turn
        # what waits for it, twice: the broker keeps queues of messages that are out and of those that are not yet
        assert most - before < 2 * MAX_QUEUED_BYTES + (32 << 20), (most - before) >> 20
    finally:
        slow.kill()
        slow.wait()


async def test_three_hundred_strangers_at_once_hold_up_no_device(make_mosquitto, certificates, running, until):
    mosquitto = make_mosquitto(GRANTS)
    coordinator, honest = bus(mosquitto, "coordinator"), bus(mosquitto, HONEST)
    heard = Heard()
    coordinator.on("hl/1/d/+/up/telemetry", heard)
    context = ssl.create_default_context(cafile=str(certificates.ca))

    async def stranger():
        """Shakes hands without a certificate, and is shown the door."""
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", mosquitto.broker.port, ssl=context)
            told = await reader.read(1)
            writer.close()
        except OSError:
            return b""
        return told

    async with running(coordinator, honest):
        storm = asyncio.gather(*(stranger() for _ in range(300)))
        slowest, number = 0.0, 0
        while not storm.done() or number < 10:
            began = time.monotonic()
            number += 1
            await honest.publish(topics.up(HONEST, topics.Up.TELEMETRY), b"honest")
            await until(lambda: len(heard) == number)  # noqa: B023  awaited within the turn
            slowest = max(slowest, time.monotonic() - began)
        assert set(await storm) == {b""}
        assert (honest.sessions, coordinator.sessions) == (1, 1)
        assert slowest < 30, slowest
