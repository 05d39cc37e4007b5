"""An identity's life against a real coordinator and a real mosquitto: renewed, expired, rescued, replaced, revoked."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from random import Random

import pytest

from edge.identity import KnownTime, Rotation, enrol, renew, rescue
from edge.link.endpoint import endpoint_of
from edge.link.outbox import Outbox
from edge.link.uplink import Uplink
from shared.bus.mqtt import Endpoint, MqttBus
from shared.clock import SystemClock
from shared.errors import RefusedError, TransportError
from shared.messages import Telemetry
from shared.topics import Up
from tests.system.test_coordinator_process import World

pytestmark = pytest.mark.system

SILENT_WITHIN_S = 60.0
AFTER_IT = 40
"""Messages of an honest device without one of the revoked between them: four seconds of life on a quiet machine."""

FACTS = {"hardware": ["cpu"], "runtimes": ["onnxruntime"]}


@pytest.fixture
def start(tmp_path):
    """Start a coordinator and its broker, with settings from the environment."""
    started = []

    def make(**environ):
        world = World(tmp_path)
        started.append(world)
        world.env |= {f"HINTERLAND_{name.upper()}": value for name, value in environ.items()}
        world.broker.start()
        world.coordinator = world.process("serve")
        world.coordinator.start()
        world.until(world.healthy)
        return world

    yield make
    for world in started:
        world.stop()


def joined(world, directory, name):
    token = world.client.create_token(device=name, fleet="wards").token
    return enrol(directory, token=token, **FACTS), token


def bus_of(identity, name=None, timeout_s=10):
    known = KnownTime(SystemClock(), identity.authority_file, identity.certificate_file)
    return MqttBus(
        endpoint_of(identity, now=known), identity=name or identity.device, random=Random(1), timeout_s=timeout_s
    )


def observer(world):
    """What an operator's `hinterland tap` is to the broker: reads everything, writes nothing."""
    tls = world.directory / "tls"
    endpoint = Endpoint(
        host="127.0.0.1",
        port=world.broker_port,
        ca=world.directory / "ca" / "ca.crt",
        certificate=tls / "operator.crt",
        key=tls / "operator.key",
    )
    return MqttBus(endpoint, identity="operator", random=Random(1))


@asynccontextmanager
async def together(*runs):
    tasks = [asyncio.create_task(run) for run in runs]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def connects(identity, within_s=120.0, **how):
    bus = bus_of(identity, **how)
    async with together(bus.run()):
        deadline = time.monotonic() + within_s
        while not bus.connected and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        return bus.connected


class Ear(list):
    """Remembers when it heard what."""

    async def __call__(self, delivery):
        self.append((time.monotonic(), delivery.topic))

    def last(self, part):
        return max((at for at, topic in self if part in topic), default=0.0)

    def since(self, at, part):
        return sum(heard > at and part in topic for heard, topic in self)


async def stays_out(identity):
    return not await connects(identity, within_s=2.5, timeout_s=1)  # ending a session that is refused takes so long


async def speak(bus, outbox, every_s):
    """Real batches: what the coordinator commits it acknowledges, so the device also hears something."""
    uplink = Uplink(bus, outbox, device=bus._identity, clock=SystemClock(), resend_s=0.5)
    number = 0

    async def write():
        nonlocal number
        while True:
            number += 1
            message = Telemetry(pipeline="p", model="m", release="m-1", since=0, until=1, processed=number, errors=0)
            await uplink.say(Up.TELEMETRY, message)
            await asyncio.sleep(every_s)

    await asyncio.gather(uplink.run(), write())


def outbox_in(directory):
    return Outbox.open(directory, cap=1 << 20, clock=SystemClock(), random=Random())


async def play_revocation(world, stolen, honest, tmp_path, until):
    reader, thief, good = observer(world), bus_of(stolen), bus_of(honest)
    heard, leaked, kept = Ear(), Ear(), Ear()
    reader.on("hl/1/d/+/up/#", heard)
    thief.on("hl/1/#", leaked)
    good.on("hl/1/d/+/down/#", kept)
    talk = [speak(bus, outbox_in(tmp_path / f"outbox-{n}"), 0.1) for n, bus in enumerate((thief, good))]
    async with together(reader.run(), thief.run(), good.run(), *talk):
        await until(lambda: heard.last(stolen.device) and leaked.last(f"{stolen.device}/down") and kept)
        began = time.monotonic()
        await asyncio.to_thread(world.client.revoke, stolen.device, reason="stolen")

        def silent():
            """Neither heard nor answered while the control is: who was not revoked."""
            spoke, listened = heard.last(stolen.device), leaked.last("")
            return min(heard.since(spoke, honest.device), kept.since(listened, honest.device)) >= AFTER_IT

        await until(silent)
        spoke, listened = heard.last(stolen.device) - began, leaked.last("") - began
        return spoke, listened, thief.connected


async def test_a_revoked_device_is_silent_within_a_minute_and_stays_out(start, tmp_path, until):
    world = await asyncio.to_thread(start)
    stolen, token = await asyncio.to_thread(joined, world, tmp_path / "stolen", "watch-1")
    honest, _ = await asyncio.to_thread(joined, world, tmp_path / "honest", "watch-2")
    spoke, listened, connected = await play_revocation(world, stolen, honest, tmp_path, until)
    print(f"last message {spoke:.3f} s and last delivery {listened:.3f} s after the request; session kept: {connected}")
    assert spoke < SILENT_WITHIN_S
    assert listened < SILENT_WITHIN_S
    assert await stays_out(stolen)
    assert await connects(honest)
    await asyncio.to_thread(world.broker.stop)
    world.broker.start()
    assert await stays_out(stolen)
    assert await connects(honest)
    now = SystemClock().now
    for ask in (renew, rescue):
        with pytest.raises(RefusedError):
            await asyncio.to_thread(ask, stolen, now=now)
    with pytest.raises(RefusedError, match="token was used"):
        await asyncio.to_thread(enrol, tmp_path / "again", token=token, **FACTS)
    await asyncio.to_thread(renew, honest, now=now)


async def test_a_name_that_another_device_has_now_is_no_way_in(start, tmp_path):
    world = await asyncio.to_thread(start)
    former, _ = await asyncio.to_thread(joined, world, tmp_path / "former", "watch-1")
    assert await connects(former)
    present, _ = await asyncio.to_thread(joined, world, tmp_path / "present", "watch-1")
    await asyncio.sleep(0.5)
    assert await stays_out(former)
    assert await connects(present)


@pytest.mark.slow
async def test_certificates_change_while_telemetry_flows_and_one_that_expired_is_rescued(start, tmp_path, until):
    life_s = 16.0
    days = str(life_s / 86_400)
    world = await asyncio.to_thread(lambda: start(devices_certificate_days=days, devices_rescue_days="1"))
    identity, _ = await asyncio.to_thread(joined, world, tmp_path / "device", "watch-1")
    known = KnownTime(SystemClock(), identity.authority_file, identity.certificate_file)
    bus, outbox = bus_of(identity), outbox_in(tmp_path / "outbox")
    rotation = Rotation(identity, bus=bus, clock=SystemClock(), now=known, random=Random(1))
    async with together(bus.run(), rotation.run(), speak(bus, outbox, 0.05)):
        await until(lambda: rotation.renewed >= 2 and bus.sessions >= 3 and bus.connected, within_s=20 * life_s)
        await until(lambda: outbox.ledger(Up.TELEMETRY).pending < 5)
    total = (await asyncio.to_thread(world.client.telemetry)).total
    assert (total.lost, total.duplicated) == (0, 0)
    assert total.stored > 5 / 0.05
    await asyncio.sleep(life_s + 1)  # away while it expires
    assert await stays_out(identity)
    with pytest.raises(RefusedError, match="out of date"):
        await asyncio.to_thread(renew, identity, now=known)
    late = Rotation(identity, bus=bus_of(identity), clock=SystemClock(), now=known, random=Random(1))
    await late.turn_once()
    assert late.renewed == 1
    assert await connects(identity)
    device = await asyncio.to_thread(world.client.device, "watch-1")
    assert (device.state, device.alarm) == ("enrolled", "")
    kinds = [event.kind for event in await asyncio.to_thread(world.client.events)]
    assert "device.rescued" in kinds
    outbox.close()


async def test_fifty_keys_with_one_token_over_https(start, tmp_path):
    world = await asyncio.to_thread(start)
    token = world.client.create_token(device="watch-1").token

    def attempt(number):
        try:
            return enrol(tmp_path / f"device-{number}", token=token, **FACTS).device
        except (RefusedError, TransportError) as error:
            return error

    outcomes = await asyncio.gather(*(asyncio.to_thread(attempt, number) for number in range(50)))
    assert [each for each in outcomes if isinstance(each, str)] == ["watch-1"]
    assert sum(isinstance(each, RefusedError) for each in outcomes) == 49


async def test_a_cloned_key_is_found_and_shut_out_where_the_policy_says_so(start, tmp_path, until):
    world = await asyncio.to_thread(lambda: start(devices_on_clone="revoke"))
    identity, _ = await asyncio.to_thread(joined, world, tmp_path / "device", "watch-1")
    honest, _ = await asyncio.to_thread(joined, world, tmp_path / "honest", "watch-2")

    async def online(name, outbox):
        """Be a device for long enough to be heard, and be gone again, as devices on the move are."""
        bus = bus_of(name)
        async with together(bus.run(), speak(bus, outbox, 0.1)):
            before = outbox.ledger(Up.TELEMETRY).last
            await until(lambda: _settled(outbox) > before)

    for name, boxes in ((honest, [outbox_in(tmp_path / "honest-outbox")]), (identity, _two_outboxes(tmp_path))):
        for turn in range(7):
            await online(name, boxes[turn % len(boxes)])
    device, other = map(world.client.device, ("watch-1", "watch-2"))
    assert (device.state, "outboxes take turns" in device.alarm) == ("revoked", True)
    assert (other.state, other.alarm) == ("enrolled", "")
    await asyncio.sleep(1)
    assert await stays_out(identity)
    kinds = [event.kind for event in await asyncio.to_thread(world.client.events)]
    assert kinds.count("device.cloned") == kinds.count("device.revoked") == 1


def _two_outboxes(directory):
    return [outbox_in(directory / f"outbox-{number}") for number in range(2)]


def _settled(outbox):
    """The newest record that the coordinator has acknowledged."""
    ledger = outbox.ledger(Up.TELEMETRY)
    return ledger.last - ledger.pending
