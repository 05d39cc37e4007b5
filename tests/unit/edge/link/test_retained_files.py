import asyncio
import json

import pytest

from edge.link.retained import MAX_FILE, RetainedFiles
from shared import topics
from shared.bus.memory import MemoryBroker
from shared.codec import pack
from shared.ids import fleet_id, tenant_id
from shared.messages import Desired

TENANT, FLEET = tenant_id("acme"), fleet_id("north")


def timestamp(version):
    return json.dumps({"signed": {"version": version, "_type": "timestamp"}, "signatures": []}).encode()


@pytest.fixture
def link():
    broker = MemoryBroker()
    return broker.bus("coordinator"), broker.bus("device")


async def test_names_are_those_of_the_trust_client(link, running, until):
    coordinator, device = link
    files = RetainedFiles(device, tenant=TENANT, fleet=FLEET)
    async with running(coordinator, device):
        await coordinator.publish(topics.tuf_metadata(TENANT, "1.root.json"), b"root", retain=True)
        await coordinator.publish(topics.tuf_target(TENANT, "releases/m-1/aa.manifest.json"), b"m", retain=True)
        await until(lambda: files.generation == 2)
    assert files.read("metadata/1.root.json") == b"root"
    assert files.read("targets/releases/m-1/aa.manifest.json") == b"m"
    assert files.read("metadata/2.root.json") is None


async def test_cleared_files_go(link, running, until):
    coordinator, device = link
    files = RetainedFiles(device, tenant=TENANT, fleet=FLEET)
    async with running(coordinator, device):
        for payload in (b"root", b""):
            await coordinator.publish(topics.tuf_metadata(TENANT, "1.root.json"), payload, retain=True)
        await until(lambda: files.generation == 2)
    assert files.read("metadata/1.root.json") is None


async def test_waiting_for_a_timestamp(link, running):
    coordinator, device = link
    files = RetainedFiles(device, tenant=TENANT, fleet=FLEET)
    async with running(coordinator, device):
        waiting = asyncio.create_task(files.wait_for(3))
        for content in (b"{}", b"\xff", b"[" * 100_000, timestamp(2)):
            await coordinator.publish(topics.tuf_metadata(TENANT, "timestamp.json"), content)
        await asyncio.sleep(0.02)
        assert not waiting.done()
        await coordinator.publish(topics.tuf_metadata(TENANT, "timestamp.json"), timestamp(3))
        await asyncio.wait_for(waiting, 5)
    assert files.timestamp_version == 3


async def test_the_pointer_only_rises(link, running, until):
    coordinator, device = link
    files = RetainedFiles(device, tenant=TENANT, fleet=FLEET)
    async with running(coordinator, device):
        for version in (2, 5, 4):
            await coordinator.publish(topics.desired(FLEET), pack(Desired(timestamp=version)), retain=True)
        await until(lambda: device.counts.handled == 3)
    assert files.pointer == 5


async def test_over_the_bound_the_oldest_files_go(link, running, until):
    coordinator, device = link
    files = RetainedFiles(device, tenant=TENANT, fleet=FLEET, most=250)
    async with running(coordinator, device):
        for number in range(4):
            await coordinator.publish(topics.tuf_metadata(TENANT, f"{number}"), bytes(100))
        await until(lambda: files.generation == 4)
    assert [files.read(f"metadata/{number}") is not None for number in range(4)] == [False, False, True, True]
    assert files.evicted == 2


async def test_endless_files_are_dropped(link, running, until):
    coordinator, device = link
    files = RetainedFiles(device, tenant=TENANT, fleet=FLEET)
    async with running(coordinator, device):
        await coordinator.publish(topics.tuf_metadata(TENANT, "root"), bytes(MAX_FILE + 1))
        await until(lambda: device.counts.broken == 1)
    assert files.read("metadata/root") is None
