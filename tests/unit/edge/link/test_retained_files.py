import asyncio
import json

import pytest

from edge.link.retained import MAX_FILE, RetainedFiles
from shared import topics
from shared.bus import Delivery
from shared.bus.memory import MemoryBroker
from shared.clock import VirtualClock
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


MANIFEST = topics.tuf_target(TENANT, "releases/m-1/aa.manifest.json")
NAME = "targets/releases/m-1/aa.manifest.json"


@pytest.fixture
async def altered(link, running, until):
    """Files whose manifest was altered on the way; the broker holds the good one, and a second file."""
    coordinator, device = link
    broker = device._broker
    clock = VirtualClock()
    files = RetainedFiles(device, tenant=TENANT, fleet=FLEET, clock=clock)
    broker.on_the_way = lambda _receiver, each: [Delivery(each.topic, each.payload + b"!", each.retained)]
    async with running(coordinator, device):
        await coordinator.publish(MANIFEST, b"good", retain=True)
        await coordinator.publish(topics.tuf_metadata(TENANT, "1.root.json"), b"root", retain=True)
        await until(lambda: files.generation == 2)
        yield files, broker, clock, device


async def test_another_copy_is_asked_for_alone_and_without_a_new_session(altered):
    files, broker, _, device = altered
    broker.on_the_way = lambda _receiver, each: [each]
    handled = device.counts.handled
    assert await files.again(NAME)
    assert files.read(NAME) == b"good"
    assert files.read("metadata/1.root.json") == b"root!"
    assert (device.sessions, device.counts.handled) == (1, handled + 1)
    assert device._lanes.open()[-1].topic_filter == topics.desired(FLEET), "the question is withdrawn"


async def test_the_same_bytes_again_are_no_other_copy(altered):
    files, broker, clock, _ = altered
    assert not await files.again(NAME)
    assert files.read(NAME) == b"good!"
    broker.on_the_way = lambda _receiver, each: [each]
    assert not await files.again(NAME), "too soon to ask"
    clock.advance(3)
    assert await files.again(NAME)


async def test_a_copy_that_does_not_come_is_not_waited_for_long(altered, monkeypatch):
    files, broker, _, _ = altered
    monkeypatch.setattr("edge.link.retained.ANSWER_S", 0.05)
    broker.on_the_way = lambda _receiver, _each: []
    assert not await files.again(NAME)
    assert files.read(NAME) == b"good!"


async def test_without_a_session_nothing_is_asked(link):
    files = RetainedFiles(link[1], tenant=TENANT, fleet=FLEET)
    assert not await files.again(NAME)
