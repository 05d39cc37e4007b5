"""Two devices and a coordinator over mutual TLS, while the broker is killed and comes back empty."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from random import Random

import pytest

from cloud.devices.broker import Grant
from cloud.distribution.blobs import MemoryBlobs
from cloud.distribution.chunks import ChunkServer
from cloud.ingest.inbox import MemoryInbox, Stream
from cloud.ingest.ingest import Ingest
from edge.link.outbox import Outbox
from edge.link.uplink import Uplink
from edge.update.download import Download, Patience
from edge.update.partial import PartialFile
from shared.bundle import Runtime, Variant, split
from shared.bus import Delivery
from shared.bus.mqtt import MqttBus
from shared.clock import SystemClock
from shared.ids import device_id, fleet_id, tenant_id
from shared.messages import Telemetry
from shared.topics import Up

pytestmark = pytest.mark.system

A, B = device_id("device-a"), device_id("device-b")
GRANTS = [Grant(device, fleet_id("north"), tenant_id("acme")) for device in (A, B)]
DATA = Random(5).randbytes(5_000_000)
RECORDS = 150


class Device:
    def __init__(self, name, mosquitto, directory, variant):
        clock = SystemClock()
        self.name = name
        self.bus = MqttBus(mosquitto.endpoint(name), identity=name, random=Random(name), timeout_s=10)
        self.outbox = Outbox.open(directory / "outbox", cap=1 << 24, clock=clock, random=Random(name))
        self.uplink = Uplink(self.bus, self.outbox, device=name, clock=clock, resend_s=1)
        self.partial = PartialFile(directory / "part", variant)
        self.download = Download(
            self.bus,
            self.partial,
            device=name,
            clock=clock,
            random=Random(name),
            patience=Patience(silence_s=0.3, most_s=1, give_up_s=180),
        )

    async def speak(self):
        for number in range(RECORDS):
            message = Telemetry(pipeline="p", model="m", release="m-1", since=0, until=1, processed=number, errors=0)
            await self.uplink.say(Up.TELEMETRY, message)
            await asyncio.sleep(0.01)

    async def fetch(self):
        async def notice(_progress):
            pass

        await self.download.run(notice)
        return self.partial.finish()


@pytest.fixture
def mosquitto(make_mosquitto):
    return make_mosquitto(GRANTS)


async def test_chunks_and_telemetry_survive_the_brokers_death(mosquitto, tmp_path, running, until):
    blobs, inbox, clock = MemoryBlobs(), MemoryInbox(), SystemClock()
    variant = Variant(
        name="m.onnx",
        runtime=Runtime.ONNXRUNTIME,
        precision="fp32",
        hardware=["cpu"],
        digest=blobs.put(DATA),
        size=len(DATA),
        chunks=split(DATA),
    )
    coordinator = MqttBus(mosquitto.endpoint("coordinator"), identity="coordinator", random=Random(1), timeout_s=10)
    server = ChunkServer(coordinator, blobs, clock=clock, quiet_s=0.5)
    ingest = Ingest(coordinator, inbox, clock=clock)
    devices = []
    for name in (A, B):
        (tmp_path / name).mkdir()
        devices.append(Device(name, mosquitto, tmp_path / name, variant))
    parts = [coordinator, server, ingest, *(part for device in devices for part in (device.bus, device.uplink))]
    async with running(*parts):
        work = asyncio.gather(*(device.speak() for device in devices), *(device.fetch() for device in devices))
        for _ in range(2):
            await until(lambda: all(bus.connected for bus in (coordinator, *(device.bus for device in devices))))
            await asyncio.sleep(0.2)
            await asyncio.to_thread(mosquitto.broker.kill)
            await asyncio.sleep(0.2)
            await asyncio.to_thread(mosquitto.broker.start)
        files = [path for path in await asyncio.wait_for(work, 180) if path]
        await until(lambda: all(device.outbox.ledger(Up.TELEMETRY).pending == 0 for device in devices))
    assert [path.read_bytes() == DATA for path in files] == [True, True]
    for device in devices:
        ledger = device.outbox.ledger(Up.TELEMETRY)
        assert (ledger.last, ledger.dropped) == (RECORDS, 0)
        stored = inbox.records[Stream(device.name, device.outbox.epoch, Up.TELEMETRY)]
        assert sorted(stored) == list(range(1, RECORDS + 1))
        device.outbox.close()
    assert coordinator.sessions == 3


async def test_one_copy_of_each_chunk_serves_both_devices(mosquitto, tmp_path, running):
    blobs = MemoryBlobs()
    variant = Variant(
        name="m.onnx",
        runtime=Runtime.ONNXRUNTIME,
        precision="fp32",
        hardware=["cpu"],
        digest=blobs.put(DATA),
        size=len(DATA),
        chunks=split(DATA),
    )
    coordinator = MqttBus(mosquitto.endpoint("coordinator"), identity="coordinator", random=Random(1), timeout_s=10)
    server = ChunkServer(coordinator, blobs, clock=SystemClock(), gather_s=1, quiet_s=60)
    devices = []
    for name in (A, B):
        (tmp_path / name).mkdir()
        devices.append(Device(name, mosquitto, tmp_path / name, variant))
    async with running(coordinator, server, *(device.bus for device in devices)):
        await asyncio.gather(*(device.fetch() for device in devices))
    assert server.bytes == len(DATA) + 2 * len(variant.chunks)  # each says its form
    for device in devices:
        device.outbox.close()


async def test_a_byte_flipped_by_a_stolen_coordinator_session_is_refused(mosquitto, tmp_path, running, until):
    """The altered chunk comes over TLS from a session that may publish it; only the signature is against it."""
    blobs = MemoryBlobs()
    variant = Variant(
        name="m.onnx",
        runtime=Runtime.ONNXRUNTIME,
        precision="fp32",
        hardware=["cpu"],
        digest=blobs.put(DATA),
        size=len(DATA),
        chunks=split(DATA),
    )
    coordinator = MqttBus(mosquitto.endpoint("coordinator"), identity="coordinator", random=Random(1), timeout_s=10)
    (tmp_path / A).mkdir()
    device = Device(A, mosquitto, tmp_path / A, variant)
    asked = asyncio.Event()

    async def ask(_delivery: Delivery) -> None:
        asked.set()

    coordinator.on(f"hl/1/d/{A}/up/want", ask)
    notices = []

    async def notice(progress):
        notices.append(progress.reason)

    async with running(coordinator, device.bus):
        fetching = asyncio.create_task(device.download.run(notice))
        await asyncio.wait_for(asked.wait(), 180)
        altered = bytes([DATA[0] ^ 1]) + DATA[1 : 256 << 10]
        await coordinator.publish(f"hl/1/blob/{variant.digest}/z/0", b"\x00\x01" + altered)
        await until(lambda: notices)
        assert device.partial.missing[0] == 0
        await coordinator.off(f"hl/1/d/{A}/up/want")
        server = ChunkServer(coordinator, blobs, clock=SystemClock(), quiet_s=0.1)
        async with running(server):
            await asyncio.wait_for(fetching, 180)
    assert "chunk 0" in notices[0]
    assert device.partial.finish().read_bytes() == DATA
    device.outbox.close()
    with suppress(ValueError):
        device.partial.close()
