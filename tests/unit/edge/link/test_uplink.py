from random import Random

import pytest

from cloud.ingest.inbox import MemoryInbox, Stream
from cloud.ingest.ingest import Ingest
from edge.link.outbox import Outbox
from edge.link.uplink import Uplink
from shared import topics
from shared.bus.memory import MemoryBroker
from shared.clock import VirtualClock
from shared.codec import pack, unpack
from shared.errors import TransportError
from shared.ids import device_id
from shared.messages import Ack, Batch, Telemetry
from shared.topics import Down, Up

DEVICE = device_id("device-a")
MESSAGE = Telemetry(pipeline="p", model="m", release="m-1", since=0, until=1, processed=1, errors=0)


@pytest.fixture
def outbox(tmp_path):
    opened = Outbox.open(tmp_path, cap=1 << 20, clock=VirtualClock(), random=Random(1))
    yield opened
    opened.close()


@pytest.fixture
def broker():
    return MemoryBroker()


@pytest.fixture
def batches(broker):
    """What the coordinator's side hears, with a bus to answer on."""
    bus = broker.bus("coordinator")
    heard = []

    async def hear(delivery):
        heard.append(unpack(delivery.payload, Batch))

    bus.on(topics.all_up(Up.TELEMETRY), hear)
    return bus, heard


async def test_one_batch_at_a_time_until_acknowledged(broker, batches, outbox, running, until):
    coordinator, heard = batches
    bus, clock = broker.bus(DEVICE), VirtualClock()
    uplink = Uplink(bus, outbox, device=DEVICE, clock=clock, resend_s=10)
    async with running(coordinator, bus):
        await uplink.say(Up.TELEMETRY, MESSAGE)
        assert await uplink.deliver_once() == 1
        await uplink.say(Up.TELEMETRY, MESSAGE)
        assert await uplink.deliver_once() == 0
        await until(lambda: len(heard) == 1)
        ack = Ack(boot=outbox.epoch, channel=Up.TELEMETRY, seq=1)
        await coordinator.publish(topics.down(DEVICE, Down.ACK), pack(ack))
        await until(lambda: bus.counts.handled == 1)
        assert await uplink.deliver_once() == 1
        await until(lambda: len(heard) == 2)
        assert [[record.seq for record in batch.records] for batch in heard] == [[1], [2]]


async def test_silence_is_answered_by_sending_again(broker, batches, outbox, running, until):
    coordinator, heard = batches
    bus, clock = broker.bus(DEVICE), VirtualClock()
    uplink = Uplink(bus, outbox, device=DEVICE, clock=clock, resend_s=10)
    async with running(coordinator, bus):
        await uplink.say(Up.TELEMETRY, MESSAGE)
        sent = []
        for _ in range(4):
            sent.append(await uplink.deliver_once())
            clock.advance(5)
        assert sent == [1, 0, 1, 0]
        await until(lambda: len(heard) == 2)
        assert heard[0] == heard[1]


async def test_a_new_session_sends_again_at_once(broker, batches, outbox, running, until):
    coordinator, heard = batches
    bus = broker.bus(DEVICE)
    uplink = Uplink(bus, outbox, device=DEVICE, clock=VirtualClock(), resend_s=10)
    async with running(coordinator, bus):
        await uplink.say(Up.TELEMETRY, MESSAGE)
        await uplink.deliver_once()
        broker.cut(DEVICE)
        broker.restore(DEVICE)
        await until(lambda: bus.connected)
        assert await uplink.deliver_once() == 1
        await until(lambda: len(heard) == 2)


async def test_without_a_session_everything_stays(broker, outbox):
    uplink = Uplink(broker.bus(DEVICE), outbox, device=DEVICE, clock=VirtualClock())
    await uplink.say(Up.TELEMETRY, MESSAGE)
    with pytest.raises(TransportError):
        await uplink.deliver_once()
    assert outbox.ledger(Up.TELEMETRY).pending == 1


async def test_the_loop_empties_the_outbox_over_a_bad_link(broker, outbox, running, until):
    random, clock = Random(7), VirtualClock()
    broker.on_the_way = lambda _receiver, delivery: [delivery] * random.choice([0, 1, 1, 2])
    coordinator, bus = broker.bus("coordinator"), broker.bus(DEVICE)
    inbox = MemoryInbox()
    ingest = Ingest(coordinator, inbox, clock=clock)
    uplink = Uplink(bus, outbox, device=DEVICE, clock=clock, resend_s=0)
    async with running(coordinator, bus, ingest, uplink):
        for _ in range(30):
            await uplink.say(Up.TELEMETRY, MESSAGE)
        await until(lambda: outbox.ledger(Up.TELEMETRY).pending == 0)
    assert list(inbox.records[Stream(DEVICE, outbox.epoch, Up.TELEMETRY)]) == list(range(1, 31))


async def test_an_acknowledgement_that_is_none_is_dropped(broker, batches, outbox, running, until):
    coordinator, _ = batches
    bus = broker.bus(DEVICE)
    uplink = Uplink(bus, outbox, device=DEVICE, clock=VirtualClock())
    await uplink.say(Up.TELEMETRY, MESSAGE)
    async with running(coordinator, bus):
        for payload in (b"", b"\xc1", pack(Ack(boot=outbox.epoch, channel=Up.TELEMETRY, seq=99))):
            await coordinator.publish(topics.down(DEVICE, Down.ACK), payload)
        await until(lambda: bus.counts.broken == 3)
    assert outbox.ledger(Up.TELEMETRY).pending == 1
