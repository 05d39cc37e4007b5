import asyncio
from random import Random

import pytest

from cloud.distribution.blobs import MemoryBlobs
from cloud.distribution.chunks import ChunkServer
from edge.update.download import MAX_WRONG, Download
from edge.update.pace import WINDOW, Patience
from edge.update.partial import PartialFile
from shared.bundle import CHUNK_SIZE, Runtime, Variant, split
from shared.bus import Delivery
from shared.bus.memory import MemoryBroker
from shared.clock import SystemClock
from shared.errors import TransportError
from shared.ids import device_id

DEVICE = device_id("device-a")
DATA = Random(3).randbytes(5 * CHUNK_SIZE + 1000)
PATIENCE = Patience(silence_s=0.03, most_s=0.1, give_up_s=0.6)


class World:
    def __init__(self, directory):
        self.broker = MemoryBroker()
        self.coordinator, self.bus = self.broker.bus("coordinator"), self.broker.bus(DEVICE)
        blobs = MemoryBlobs()
        self.variant = Variant(
            name="cpu.onnx",
            runtime=Runtime.ONNXRUNTIME,
            precision="fp32",
            hardware=["cpu"],
            digest=blobs.put(DATA),
            size=len(DATA),
            chunks=split(DATA),
        )
        self.server = ChunkServer(self.coordinator, blobs, clock=SystemClock(), gather_s=0, quiet_s=0.01)
        self.partial = PartialFile(directory / "part", self.variant)
        self.notices = []

    @property
    def parts(self):
        return (self.coordinator, self.bus, self.server)

    def download(self):
        return Download(self.bus, self.partial, device=DEVICE, clock=SystemClock(), random=Random(1), patience=PATIENCE)

    async def notice(self, progress):
        self.notices.append(progress)

    def tamper(self, change):
        """Let `change(index, nth copy, payload)` decide what arrives of each chunk."""
        seen = {}

        def on_the_way(_receiver, delivery):
            if "/blob/" not in delivery.topic:
                return [delivery]
            index = int(delivery.topic.rsplit("/", 1)[1])
            seen[index] = seen.get(index, 0) + 1
            return [Delivery(delivery.topic, payload) for payload in change(index, seen[index], delivery.payload)]

        self.broker.on_the_way = on_the_way


def flipped(payload):
    return bytes([payload[0] ^ 1]) + payload[1:]


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    made.partial.close()


async def test_all_chunks_come(world, running):
    async with running(*world.parts):
        await world.download().run(world.notice)
    assert world.partial.finish().read_bytes() == DATA
    assert world.notices == []
    assert world.server.published == 6


async def test_lost_chunks_are_asked_for_again(world, running):
    world.tamper(lambda index, copy, payload: [] if copy < 1 + index % 3 else [payload])
    async with running(*world.parts):
        await world.download().run(world.notice)
    assert world.partial.finish().read_bytes() == DATA


async def test_doubled_chunks_do_no_harm(world, running):
    world.tamper(lambda index, copy, payload: [payload, payload])
    async with running(*world.parts):
        await world.download().run(world.notice)
    assert world.partial.finish().read_bytes() == DATA


async def test_a_flipped_chunk_is_refused_reported_and_fetched_again(world, running):
    world.tamper(lambda index, copy, payload: [flipped(payload) if (index, copy) == (2, 1) else payload])
    async with running(*world.parts):
        download = world.download()
        await download.run(world.notice)
    assert download.wrong == 1
    assert "chunk 2" in world.notices[0].reason
    assert world.partial.finish().read_bytes() == DATA


async def test_a_chunk_that_is_always_wrong_ends_the_attempt_and_keeps_the_rest(world, running):
    world.tamper(lambda index, copy, payload: [flipped(payload) if index == 2 else payload])
    async with running(*world.parts):
        download = world.download()
        with pytest.raises(TransportError, match="chunk 2"):
            await download.run(world.notice)
    assert download.wrong == MAX_WRONG
    assert world.partial.missing == [2]


async def test_silence_ends_the_attempt(world, running):
    world.tamper(lambda index, copy, payload: [])
    async with running(*world.parts):
        with pytest.raises(TransportError, match="no chunk came"):
            await world.download().run(world.notice)


async def test_while_there_is_no_link_nothing_is_given_up(world, running, until):
    async with running(*world.parts):
        world.broker.cut(DEVICE)
        attempt = asyncio.create_task(world.download().run(world.notice))
        await asyncio.sleep(2 * PATIENCE.give_up_s)
        assert not attempt.done()
        world.broker.restore(DEVICE)
        await asyncio.wait_for(attempt, 5)
    assert world.partial.missing == []


async def test_chunks_that_nobody_asked_for_are_passed_over(world, running):
    async with running(*world.parts):
        download = asyncio.create_task(world.download().run(world.notice))
        for index in (6, 7, 9_999_999):
            await world.coordinator.publish(f"hl/1/blob/{world.variant.digest}/{index}", b"stray")
        await asyncio.wait_for(download, 5)
    assert world.partial.missing == []


async def test_the_subscription_ends_with_the_attempt(world, running):
    async with running(*world.parts):
        await world.download().run(world.notice)
        await world.download().run(world.notice)
    assert world.bus._lanes.open() == []


def test_a_window_fits_into_what_the_broker_queues():
    assert WINDOW * CHUNK_SIZE <= 64 << 20
