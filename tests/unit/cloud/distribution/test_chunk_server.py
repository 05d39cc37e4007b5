import asyncio

import pytest

from cloud.distribution.blobs import MemoryBlobs
from cloud.distribution.chunks import MAX_WANT, ChunkServer
from shared import topics
from shared.bundle import CHUNK_SIZE, pieces
from shared.bus.memory import MemoryBroker
from shared.clock import SystemClock
from shared.codec import pack
from shared.ids import device_id, sha256
from shared.messages import Want
from shared.topics import Up

DATA = bytes(range(256)) * (5 * CHUNK_SIZE // 512)  # two and a half chunks
DIGEST = sha256(DATA)
A, B = device_id("device-a"), device_id("device-b")


class Served:
    def __init__(self):
        broker = MemoryBroker()
        self.coordinator = broker.bus("coordinator")
        self.devices = [broker.bus(A), broker.bus(B)]
        self.blobs = MemoryBlobs()
        self.blobs.put(DATA)
        self.server = ChunkServer(self.coordinator, self.blobs, clock=SystemClock(), gather_s=0.02, quiet_s=0.2)
        self.got = {A: {}, B: {}}
        for name, bus in zip((A, B), self.devices, strict=True):
            bus.on(topics.chunks(DIGEST), self.keep(name))

    def keep(self, name):
        async def handler(delivery):
            _, index = topics.parse_chunk(delivery.topic)
            self.got[name][index] = delivery.payload

        return handler

    async def want(self, number, indices, digest=DIGEST):
        name = (A, B)[number]
        await self.devices[number].publish(topics.up(name, Up.WANT), pack(Want(digest=digest, indices=indices)))

    @property
    def parts(self):
        return (self.coordinator, *self.devices, self.server)


@pytest.fixture
def served():
    return Served()


async def test_one_copy_serves_all_who_listen(served, running, until):
    async with running(*served.parts):
        await served.want(0, [0, 1, 2])
        await served.want(1, [2, 1])
        await until(lambda: len(served.got[A]) == len(served.got[B]) == 3)
        assert served.server.published == 3
    assert [served.got[B][index] for index in range(3)] == list(pieces(DATA))
    assert served.server.bytes == len(DATA)


async def test_asking_again_brings_it_again_after_the_quiet_time(served, running, until):
    async with running(*served.parts):
        for _ in range(5):
            await served.want(0, [1])
        await until(lambda: served.server.published == 1)
        for _ in range(5):
            await served.want(0, [1])
        await asyncio.sleep(0.05)
        assert served.server.published == 1
        await until(lambda: served.server.published == 2)


@pytest.mark.parametrize("indices", [[3], [10**6]])
async def test_chunks_past_the_end_are_turned_away(served, running, until, indices):
    async with running(*served.parts):
        await served.want(0, indices)
        await until(lambda: served.server.turned_away == 1)
        await served.want(0, [0])
        await until(lambda: served.server.published == 1)


async def test_unknown_blobs_are_turned_away(served, running, until):
    async with running(*served.parts):
        await served.want(0, [0, 1], digest=sha256(b"unknown"))
        await until(lambda: served.server.turned_away == 2)


@pytest.mark.parametrize(
    ("indices", "digest"), [([-1], DIGEST), ([10**7], DIGEST), ([0] * (MAX_WANT + 1), DIGEST), ([0], "../../etc")]
)
async def test_hostile_requests_are_counted(served, running, until, indices, digest):
    async with running(*served.parts):
        await served.want(0, indices, digest=digest)
        await until(lambda: served.coordinator.counts.broken == 1)
        await served.want(0, [0])
        await until(lambda: served.server.published == 1)
