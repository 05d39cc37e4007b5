import asyncio
import math

import pytest

from cloud.ingest.contract import MAX_SEQ, arrival
from cloud.ingest.inbox import MemoryInbox, Stream
from cloud.ingest.ingest import Ingest
from shared import topics
from shared.bus.memory import MemoryBroker
from shared.clock import VirtualClock
from shared.codec import pack, unpack
from shared.errors import ContractError, FaultError, TransportError
from shared.ids import device_id
from shared.messages import Ack, Batch, Record
from shared.topics import Down, Up

DEVICE = device_id("device-a")
BOOT = "0123456789abcdef"
TOPIC = topics.up(DEVICE, Up.TELEMETRY)


def batch(first=1, count=2, *, boot=BOOT, channel=Up.TELEMETRY, dropped=0, at=1.0):
    records = [Record(seq=seq, at=at, body=b"%d" % seq) for seq in range(first, first + count)]
    return Batch(boot=boot, channel=channel, records=records, dropped=dropped)


def test_a_batch_is_read():
    assert arrival(TOPIC, pack(batch(5, 3, dropped=4))) == (DEVICE, batch(5, 3, dropped=4))


gaps = batch()
gaps = Batch(boot=BOOT, channel=Up.TELEMETRY, records=[gaps.records[0], Record(seq=3, at=1.0, body=b"")])


@pytest.mark.parametrize(
    ("topic", "message"),
    [
        ("hl/1/d/device-a/down/ack", batch()),
        ("hl/1/d/coordinator/up/telemetry", batch()),
        ("hl/1/d/DEVICE/up/telemetry", batch()),
        (topics.up(DEVICE, Up.DRIFT), batch()),
        (topics.up(DEVICE, Up.WANT), batch(channel=Up.WANT)),
        (TOPIC, batch(boot="")),
        (TOPIC, batch(boot="x" * 16)),
        (TOPIC, batch(count=0)),
        (TOPIC, batch(first=0)),
        (TOPIC, batch(first=-5)),
        (TOPIC, batch(first=MAX_SEQ + 1)),
        (TOPIC, batch(first=3, dropped=3)),
        (TOPIC, batch(dropped=-1)),
        (TOPIC, batch(at=math.nan)),
        (TOPIC, gaps),
        (TOPIC, Ack(boot=BOOT, channel=Up.TELEMETRY, seq=1)),
    ],
)
def test_what_breaks_the_contract_is_refused(topic, message):
    with pytest.raises(ContractError):
        arrival(topic, pack(message))


@pytest.fixture
def link():
    broker = MemoryBroker()
    return broker.bus("coordinator"), broker.bus(DEVICE)


class Acks(list):
    async def __call__(self, delivery):
        self.append(unpack(delivery.payload, Ack))


async def test_committed_then_acknowledged(link, running, until):
    coordinator, device = link
    inbox, acks = MemoryInbox(), Acks()
    ingest = Ingest(coordinator, inbox, clock=VirtualClock())
    device.on(topics.down(DEVICE, Down.ACK), acks)
    async with running(coordinator, device, ingest):
        await device.publish(TOPIC, pack(batch()))
        await until(lambda: acks == [Ack(boot=BOOT, channel=Up.TELEMETRY, seq=2)])
    assert sorted(inbox.records[Stream(DEVICE, BOOT, Up.TELEMETRY)]) == [1, 2]


async def test_what_waits_is_committed_together(link, running, until):
    coordinator, device = link
    inbox, acks = MemoryInbox(), Acks()
    ingest = Ingest(coordinator, inbox, clock=VirtualClock())
    device.on(topics.down(DEVICE, Down.ACK), acks)
    async with running(coordinator, device):
        for channel in (Up.TELEMETRY, Up.DRIFT, Up.UPDATE):
            await device.publish(topics.up(DEVICE, channel), pack(batch(channel=channel)))
        await until(lambda: coordinator.counts.handled == 3)
        assert await ingest.commit_once() == 3
        await until(lambda: len(acks) == 3)
    assert (ingest.commits, ingest.batches) == (1, 3)


async def test_garbage_is_counted_and_the_next_batch_stored(link, running, until):
    coordinator, device = link
    inbox, acks = MemoryInbox(), Acks()
    ingest = Ingest(coordinator, inbox, clock=VirtualClock())
    device.on(topics.down(DEVICE, Down.ACK), acks)
    async with running(coordinator, device, ingest):
        for payload in (b"", b"\xc1", bytes(2 << 20), pack(batch(boot="no"))):
            await device.publish(TOPIC, payload)
        await device.publish(TOPIC, pack(batch()))
        await until(lambda: len(acks) == 1)
    assert coordinator.counts.broken == 4


class Failing(MemoryInbox):
    """A database that is away, or that cannot digest some batch."""

    def __init__(self, error, when):
        super().__init__()
        self.error, self.when = error, when

    def store(self, arrivals, *, at):
        if self.when(arrivals):
            raise self.error
        return super().store(arrivals, at=at)


async def test_no_acknowledgement_without_a_commit(link, running, until):
    coordinator, device = link
    inbox, acks = Failing(FaultError("down"), lambda arrivals: arrivals[0].batch.records[0].seq == 1), Acks()
    ingest = Ingest(coordinator, inbox, clock=VirtualClock())
    device.on(topics.down(DEVICE, Down.ACK), acks)
    async with running(coordinator, device):
        await device.publish(TOPIC, pack(batch(first=1)))
        await until(lambda: coordinator.counts.handled == 1)
        assert await ingest.commit_once() == 0
        await device.publish(TOPIC, pack(batch(first=5, dropped=4)))
        assert await ingest.commit_once() == 1
        await until(lambda: acks == [Ack(boot=BOOT, channel=Up.TELEMETRY, seq=6)])


async def test_one_indigestible_batch_does_not_hold_back_others(link, running, until):
    coordinator, device = link
    inbox, acks = Failing(OverflowError(), lambda arrivals: any(a.batch.records[0].seq == 9 for a in arrivals)), Acks()
    ingest = Ingest(coordinator, inbox, clock=VirtualClock())
    device.on(topics.down(DEVICE, Down.ACK), acks)
    async with running(coordinator, device):
        await device.publish(TOPIC, pack(batch(first=9)))
        await device.publish(topics.up(DEVICE, Up.DRIFT), pack(batch(channel=Up.DRIFT)))
        await until(lambda: coordinator.counts.handled == 2)
        assert await ingest.commit_once() == 1
        await until(lambda: [ack.channel for ack in acks] == [Up.DRIFT])
    assert ingest.poisoned == 1


class Counting(MemoryInbox):
    """Says how often it was asked to store something."""

    groups = 0

    def store(self, arrivals, *, at):
        self.groups += 1
        return super().store(arrivals, at=at)


class SlowToAnswer:
    """A bus on which acknowledgements wait until they may go."""

    def __init__(self, bus):
        self._bus, self.may, self.waiting = bus, asyncio.Event(), 0

    def __getattr__(self, name):
        return getattr(self._bus, name)

    async def publish(self, topic, payload, **how):
        self.waiting += 1
        await self.may.wait()
        await self._bus.publish(topic, payload, **how)


async def test_the_next_group_is_committed_while_one_is_acknowledged_and_no_third(link, running, until):
    coordinator, device = link
    inbox, acks = Counting(), Acks()
    slow = SlowToAnswer(coordinator)
    ingest = Ingest(slow, inbox, clock=VirtualClock())
    device.on(topics.down(DEVICE, Down.ACK), acks)
    async with running(coordinator, device, ingest):
        for group in (1, 2):
            await device.publish(TOPIC, pack(batch(first=2 * group - 1)))
            await until(lambda group=group: inbox.groups == group)
        assert (acks, slow.waiting) == ([], 1)
        await device.publish(TOPIC, pack(batch(first=5)))
        await until(lambda: coordinator.counts.handled == 3)
        assert inbox.groups == 2, "two groups are out, the third one waits"
        slow.may.set()
        await until(lambda: [ack.seq for ack in acks] == [2, 4, 6])
    assert (ingest.commits, ingest.batches) == (3, 3)


async def test_an_acknowledgement_that_cannot_be_sent_ends_nothing(link, running, until):
    coordinator, device = link
    inbox, acks = MemoryInbox(), Acks()
    ingest = Ingest(coordinator, inbox, clock=VirtualClock())
    async with running(coordinator, device, ingest):
        slow = SlowToAnswer(coordinator)
        slow.publish = _refuse
        ingest._bus = slow
        await device.publish(TOPIC, pack(batch()))
        await until(lambda: ingest.commits == 1)
        ingest._bus = coordinator
        device.on(topics.down(DEVICE, Down.ACK), acks)
        await device.publish(TOPIC, pack(batch()))
        await until(lambda: [ack.seq for ack in acks] == [2])


async def _refuse(_topic, _payload, **_how):
    raise TransportError("no session")
