import pytest

from cloud.distribution.metadata import MetadataPublisher
from cloud.loop.turn import Publishing
from shared import topics
from shared.bus.memory import MemoryBroker
from shared.codec import pack
from shared.errors import TransportError
from shared.ids import fleet_id, tenant_id
from shared.messages import Desired

TENANT, FLEET = tenant_id("acme"), fleet_id("north")
ROOT = ("metadata/1.root.json", b"root")
STAMP = ("metadata/timestamp.json", b"stamp 1")


class Published:
    def __init__(self):
        self.broker = MemoryBroker()
        self.bus = self.broker.bus("coordinator")
        self.publisher = MetadataPublisher(self.bus, tenant=TENANT)

    async def publish(self, *files, timestamp=1):
        return await self.publisher.publish(files, fleets=[FLEET], timestamp=timestamp)

    @property
    def held(self):
        prefix = f"hl/1/tuf/{TENANT}/"
        return {topic.removeprefix(prefix): data for topic, data in self.broker.retained.items()}


@pytest.fixture
def published():
    return Published()


async def test_files_and_pointer_are_retained(published, running):
    async with running(published.bus):
        assert await published.publish(ROOT, STAMP) == 3
    assert published.held == {**dict([ROOT, STAMP]), topics.desired(FLEET): pack(Desired(timestamp=1))}


async def test_what_is_unchanged_is_not_sent_again(published, running):
    async with running(published.bus):
        await published.publish(ROOT, STAMP)
        assert await published.publish(ROOT, STAMP) == 0
        assert await published.publish(ROOT, (STAMP[0], b"stamp 2"), timestamp=2) == 2
    assert published.held[STAMP[0]] == b"stamp 2"


async def test_what_vanished_is_cleared(published, running):
    async with running(published.bus):
        await published.publish(ROOT, ("metadata/1.snapshot.json", b"s"), STAMP)
        assert await published.publish(ROOT, STAMP) == 1
    assert "metadata/1.snapshot.json" not in published.held


async def test_what_another_process_left_is_cleared(published, running, until):
    published.broker.retained[topics.tuf_metadata(TENANT, "9.stale.json")] = b"stale"
    async with running(published.bus):
        await until(lambda: published.bus.counts.handled == 1)
        await published.publish(ROOT, STAMP)
    assert "metadata/9.stale.json" not in published.held


async def test_a_broker_that_forgot_is_told_everything_again(published, running, until):
    async with running(published.bus):
        await published.publish(ROOT, STAMP)
        published.broker.stop()
        with pytest.raises(TransportError):
            await published.publish(ROOT, (STAMP[0], b"stamp 2"))
        published.broker.start()
        await until(lambda: published.bus.connected)
        assert await published.publish(ROOT, (STAMP[0], b"stamp 2")) == 3
    assert published.held[ROOT[0]] == ROOT[1]


async def test_the_order_is_kept_and_the_pointer_comes_last(published, running, until):
    device = published.broker.bus("device")
    heard = []

    async def hear(delivery):
        heard.append(delivery.topic)

    device.on("hl/1/#", hear)
    async with running(published.bus, device):
        await published.publish(ROOT, STAMP)
        await until(lambda: len(heard) == 3)
    assert [topic.split("/")[-1] for topic in heard] == ["1.root.json", "timestamp.json", "desired"]


async def test_what_a_former_leader_published_late_is_put_right(published, running, until):
    late = published.broker.bus("coordinator-b")
    async with running(published.bus, late):
        await published.publish(ROOT, STAMP)
        await until(lambda: published.bus.counts.handled == 2)  # its own two files, heard again
        assert not published.publisher.disturbed
        await late.publish(topics.tuf_metadata(TENANT, "timestamp.json"), b"stamp 0", retain=True)
        await late.publish(topics.tuf_metadata(TENANT, "1.root.json"), b"", retain=True)
        await until(lambda: published.bus.counts.handled == 4)
        assert published.publisher.disturbed
        await late.publish(topics.desired(FLEET), pack(Desired(timestamp=0)), retain=True)
        assert await published.publish(ROOT, STAMP) == 3
        assert not published.publisher.disturbed
    assert published.held == {**dict([ROOT, STAMP]), topics.desired(FLEET): pack(Desired(timestamp=1))}


async def test_the_next_turn_publishes_again_what_was_disturbed(published, running, until):
    class Files:
        timestamp_version = 1

        def files(self):
            return [ROOT, STAMP]

        def fleets(self):
            return [FLEET]

    publishing = Publishing(Files(), published.publisher, published.bus)
    late = published.broker.bus("coordinator-b")
    async with running(published.bus, late):
        await publishing.step()
        await late.publish(topics.tuf_metadata(TENANT, "timestamp.json"), b"stamp 0", retain=True)
        await until(lambda: published.publisher.disturbed)
        await publishing.step()
    assert published.held[STAMP[0]] == STAMP[1]
