"""One suite for the real bus and its twin: what the rest of the system may rely on.

Rights are tested by delivery, because brokers grant subscriptions that they never serve.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from random import Random
from typing import Any

import pytest

from cloud.devices.broker import AccessList, Grant
from shared import topics
from shared.bus import Bus, Delivery
from shared.bus.memory import MemoryBroker, MemoryBus
from shared.bus.mqtt import RECEIVE_MAXIMUM, MqttBus
from shared.errors import ContractError, TransportError
from shared.ids import device_id, fleet_id, tenant_id

A, B = device_id("device-a"), device_id("device-b")
FLEET, OTHER_FLEET, TENANT = fleet_id("north"), fleet_id("south"), tenant_id("acme")
GRANTS = [Grant(A, FLEET, TENANT), Grant(B, OTHER_FLEET, tenant_id("rival"))]
SENTINEL = "hl/1/blob/sentinel"


class World:
    """What a test does to a broker, real or not."""

    def make(self, name: str) -> Any:
        raise NotImplementedError

    async def restart(self) -> None:
        raise NotImplementedError

    async def stop(self) -> None:
        raise NotImplementedError

    async def start(self) -> None:
        raise NotImplementedError


class RealWorld(World):
    def __init__(self, mosquitto: Any) -> None:
        self.mosquitto = mosquitto

    def make(self, name: str) -> MqttBus:
        return MqttBus(self.mosquitto.endpoint(name), identity=name, random=Random(1), timeout_s=10)

    async def stop(self) -> None:
        await asyncio.to_thread(self.mosquitto.broker.kill)

    async def start(self) -> None:
        await asyncio.to_thread(self.mosquitto.broker.start)


class TwinWorld(World):
    def __init__(self) -> None:
        self.broker = MemoryBroker(allow=AccessList(GRANTS))

    def make(self, name: str) -> MemoryBus:
        return self.broker.bus(name)

    async def stop(self) -> None:
        self.broker.stop()

    async def start(self) -> None:
        self.broker.start()


@pytest.fixture(params=["twin", pytest.param("mosquitto", marks=pytest.mark.system)])
def world(request: pytest.FixtureRequest) -> World:
    if request.param == "twin":
        return TwinWorld()
    make: Callable[..., Any] = request.getfixturevalue("make_mosquitto")
    return RealWorld(make(GRANTS))


@asynccontextmanager
async def running(bus: Bus) -> AsyncIterator[Bus]:
    task = asyncio.create_task(bus.run())
    try:
        await until(lambda: bus.connected)
        yield bus
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def until(true: Callable[[], bool], within_s: float = 120) -> None:
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.01)


async def settled(bus: Bus) -> None:
    """Return once the subscriptions of `bus` are made: what it publishes leaves after them."""
    await bus.publish(SENTINEL, b"")


class Heard(list[Delivery]):
    """A handler that remembers."""

    async def __call__(self, delivery: Delivery) -> None:
        self.append(delivery)

    @property
    def payloads(self) -> list[bytes]:
        return [delivery.payload for delivery in self]


@asynccontextmanager
async def pair(world: World) -> AsyncIterator[tuple[Any, Any]]:
    async with AsyncExitStack() as stack:
        coordinator = await stack.enter_async_context(running(world.make("coordinator")))
        device = await stack.enter_async_context(running(world.make(A)))
        yield coordinator, device


async def test_messages_arrive_in_order_and_once(world: World) -> None:
    async with pair(world) as (coordinator, device):
        heard = Heard()
        coordinator.on(topics.all_up(topics.Up.TELEMETRY), heard)
        await settled(coordinator)
        for number in range(50):
            await device.publish(topics.up(A, topics.Up.TELEMETRY), b"%d" % number)
        await until(lambda: len(heard) >= 50)
        assert heard.payloads == [b"%d" % number for number in range(50)]
        assert {delivery.topic for delivery in heard} == {"hl/1/d/device-a/up/telemetry"}


async def test_subscription_made_before_run_works(world: World) -> None:
    device, heard = world.make(A), Heard()
    device.on(topics.down(A, topics.Down.ACK), heard)
    async with running(world.make("coordinator")) as coordinator, running(device):
        await coordinator.publish(topics.down(A, topics.Down.ACK), b"early")
        await until(lambda: heard.payloads == [b"early"])


async def test_answer_to_what_was_published_after_on_is_not_missed(world: World) -> None:
    async with pair(world) as (coordinator, device):

        async def answer(delivery: Delivery) -> None:
            await coordinator.publish(topics.down(A, topics.Down.ACK), delivery.payload)

        coordinator.on(topics.all_up(topics.Up.WANT), answer)
        await settled(coordinator)
        for number in range(10):
            heard = Heard()
            device.on(topics.down(A, topics.Down.ACK), heard)
            await device.publish(topics.up(A, topics.Up.WANT), b"%d" % number)
            await until(lambda heard=heard: len(heard) == 1)
            await device.off(topics.down(A, topics.Down.ACK))


async def test_overlapping_filters_deliver_once_to_each_handler(world: World) -> None:
    async with pair(world) as (coordinator, device):
        narrow, wide = Heard(), Heard()
        device.on(topics.down(A, topics.Down.ACK), narrow)
        device.on("hl/1/d/device-a/down/#", wide)
        await settled(device)
        await coordinator.publish(topics.down(A, topics.Down.ACK), b"1")
        await coordinator.publish(topics.down(A, topics.Down.COMMAND), b"2")
        await until(lambda: len(wide) >= 2 and len(narrow) >= 1)
        await asyncio.sleep(0.1)
        assert (narrow.payloads, wide.payloads) == ([b"1"], [b"1", b"2"])


async def test_one_filter_takes_one_handler(world: World) -> None:
    bus = world.make(A)
    bus.on("hl/1/blob/#", Heard())
    with pytest.raises(ValueError, match="has a handler"):
        bus.on("hl/1/blob/#", Heard())


async def test_off_ends_delivery(world: World) -> None:
    async with pair(world) as (coordinator, device):
        gone, stays = Heard(), Heard()
        device.on(topics.down(A, topics.Down.ACK), gone)
        device.on(topics.down(A, topics.Down.COMMAND), stays)
        await settled(device)
        await device.off(topics.down(A, topics.Down.ACK))
        await coordinator.publish(topics.down(A, topics.Down.ACK), b"1")
        await coordinator.publish(topics.down(A, topics.Down.COMMAND), b"2")
        await until(lambda: len(stays) == 1)
        assert gone == []


async def test_retained_messages_reach_late_subscribers_and_can_be_cleared(world: World) -> None:
    async with pair(world) as (coordinator, device):
        await coordinator.publish(topics.desired(FLEET), b"old", retain=True)
        await coordinator.publish(topics.desired(FLEET), b"new", retain=True)
        first, second = Heard(), Heard()
        device.on(topics.desired(FLEET), first)
        await until(lambda: first == [Delivery(topics.desired(FLEET), b"new", retained=True)])
        await coordinator.publish(topics.desired(FLEET), b"live", retain=True)
        await until(lambda: first[1:] == [Delivery(topics.desired(FLEET), b"live", retained=False)])
        await coordinator.publish(topics.desired(FLEET), b"", retain=True)
        await until(lambda: first[2:] == [Delivery(topics.desired(FLEET), b"", retained=False)])
        await device.off(topics.desired(FLEET))
        device.on(topics.desired(FLEET), second)
        await settled(device)
        await coordinator.publish(topics.desired(FLEET), b"end")
        await until(lambda: second.payloads == [b"end"])


async def test_one_retained_message_is_asked_for_again_beside_a_wider_subscription(world: World) -> None:
    async with pair(world) as (coordinator, device):
        wide, narrow = Heard(), Heard()
        device.on(topics.tuf_all(TENANT), wide)
        await settled(device)
        for name in ("1.root.json", "timestamp.json"):
            await coordinator.publish(topics.tuf_metadata(TENANT, name), name.encode(), retain=True)
        await until(lambda: len(wide) >= 2)
        for times in (1, 2):
            device.on(topics.tuf_metadata(TENANT, "timestamp.json"), narrow)
            await until(lambda times=times: len(narrow) >= times)
            await device.off(topics.tuf_metadata(TENANT, "timestamp.json"))
        await settled(device)
        assert narrow.payloads == [b"timestamp.json"] * 2
        assert wide.payloads == [b"1.root.json", b"timestamp.json"], "the wider subscription is not served anew"


async def test_a_broken_message_is_counted_and_the_next_one_handled(world: World) -> None:
    async with pair(world) as (coordinator, device):
        heard = Heard()

        async def handler(delivery: Delivery) -> None:
            if delivery.payload == b"bad":
                raise ContractError("bad")
            if delivery.payload == b"bug":
                raise ZeroDivisionError
            await heard(delivery)

        coordinator.on(topics.all_up(topics.Up.DRIFT), handler)
        await settled(coordinator)
        for payload in (b"bad", b"bug", b"good"):
            await device.publish(topics.up(A, topics.Up.DRIFT), payload)
        await until(lambda: heard.payloads == [b"good"])
        await until(lambda: coordinator.counts.handled == 1)
        assert (coordinator.counts.broken, coordinator.counts.failed) == (1, 1)


async def test_slow_handler_loses_nothing(world: World) -> None:
    async with pair(world) as (coordinator, device):
        heard, gate = Heard(), asyncio.Event()

        async def handler(delivery: Delivery) -> None:
            await gate.wait()
            await heard(delivery)

        coordinator.on(topics.all_up(topics.Up.TELEMETRY), handler)
        await settled(coordinator)
        count = 5 * RECEIVE_MAXIMUM
        for number in range(count):
            await device.publish(topics.up(A, topics.Up.TELEMETRY), b"%d" % number)
        gate.set()
        await until(lambda: len(heard) >= count)
        assert heard.payloads == [b"%d" % number for number in range(count)]


async def test_device_cannot_write_as_another(world: World) -> None:
    async with pair(world) as (coordinator, device):
        heard = Heard()
        coordinator.on("hl/1/#", heard)
        await settled(coordinator)
        for forged in (
            topics.up(B, topics.Up.TELEMETRY),
            topics.down(A, topics.Down.ACK),
            topics.down(B, topics.Down.ACK),
            topics.desired(FLEET),
            topics.tuf_metadata(TENANT, "timestamp.json"),
            "hl/1/blob/00/0",
        ):
            await device.publish(forged, b"forged", retain=True)
        await device.publish(topics.up(A, topics.Up.TELEMETRY), b"honest")
        await until(lambda: b"honest" in heard.payloads)
        assert b"forged" not in heard.payloads


async def test_device_cannot_read_another(world: World) -> None:
    async with pair(world) as (coordinator, device):
        retained = topics.tuf_metadata(tenant_id("rival"), "timestamp.json")
        await coordinator.publish(retained, b"secret", retain=True)
        heard, everything = Heard(), Heard()
        device.on(topics.down(B, topics.Down.ACK), heard)
        device.on("hl/1/#", everything)
        device.on(topics.desired(OTHER_FLEET), heard)
        device.on("#", heard)
        await settled(device)
        for topic in (
            topics.down(B, topics.Down.ACK),
            topics.desired(OTHER_FLEET),
            topics.up(B, topics.Up.TELEMETRY),
        ):
            await coordinator.publish(topic, b"secret")
        await coordinator.publish(topics.down(A, topics.Down.ACK), b"mine")
        await until(lambda: b"mine" in heard.payloads and b"mine" in everything.payloads)
        assert b"secret" not in heard.payloads + everything.payloads


async def test_publish_without_a_session_says_so(world: World) -> None:
    bus = world.make(A)
    with pytest.raises(TransportError):
        await bus.publish(topics.up(A, topics.Up.WANT), b"")


async def test_session_heals_after_the_broker_died(world: World) -> None:
    async with pair(world) as (coordinator, device):
        heard = Heard()
        coordinator.on(topics.all_up(topics.Up.TELEMETRY), heard)
        await settled(coordinator)
        await coordinator.publish(topics.desired(FLEET), b"forgotten", retain=True)
        await world.stop()
        await until(lambda: not coordinator.connected and not device.connected)
        with pytest.raises(TransportError):
            await device.publish(topics.up(A, topics.Up.TELEMETRY), b"lost")
        await world.start()
        await until(lambda: coordinator.connected and device.connected)
        assert (coordinator.sessions, device.sessions) == (2, 2)
        await device.publish(topics.up(A, topics.Up.TELEMETRY), b"again")
        await until(lambda: heard.payloads == [b"again"])
        retained = Heard()
        device.on(topics.desired(FLEET), retained)
        await settled(device)
        await coordinator.publish(topics.desired(FLEET), b"fresh")
        await until(lambda: retained.payloads == [b"fresh"])


async def test_second_session_of_one_identity_ends_the_first(world: World) -> None:
    async with running(world.make(A)) as first, running(world.make(A)) as clone:
        await until(lambda: not first.connected or not clone.connected)


async def test_a_session_opened_anew_subscribes_again(world: World) -> None:
    async with running(world.make(A)) as device, running(world.make("coordinator")) as coordinator:
        heard = Heard()
        device.on(topics.down(A, topics.Down.ACK), heard)
        await settled(device)
        await asyncio.to_thread(device.reopen)
        await until(lambda: device.connected and device.sessions == 2)
        await settled(device)
        await coordinator.publish(topics.down(A, topics.Down.ACK), b"after")
        await until(lambda: len(heard) == 1)
        assert device.taken_over == 0


async def test_two_holders_of_one_identity_push_each_other_out(world: World) -> None:
    first, second = world.make(A), world.make(A)
    async with running(first), running(second):
        await until(lambda: first.sessions >= 2 and second.sessions >= 2)
