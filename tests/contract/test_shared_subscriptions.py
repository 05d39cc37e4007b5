"""Coordinators that share a subscription, on the real broker and its twin.

Measured on mosquitto 2.0.11, and what the twin does too: members have their turns; what a member was sent and did not
acknowledge ends with its session, and comes to nobody else. Nothing is lost by that for good: devices send again until
a coordinator has committed.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from cloud.devices.broker import Grant
from shared import topics
from shared.ids import device_id, fleet_id, tenant_id
from shared.topics import Up
from tests.contract.test_bus import Heard, RealWorld, TwinWorld, World, running, settled, until

A = device_id("device-a")
GRANTS = [Grant(A, fleet_id("north"), tenant_id("acme"))]
GROUP = "a-secret"
FILTER = topics.shared_up(Up.TELEMETRY, group=GROUP)
UP = topics.up(A, Up.TELEMETRY)
REPLICAS = ("coordinator-a", "coordinator-b")


@pytest.fixture(params=["twin", pytest.param("mosquitto", marks=pytest.mark.system)])
def world(request: pytest.FixtureRequest) -> World:
    if request.param == "twin":
        return TwinWorld()
    real = request.getfixturevalue("make_mosquitto")(GRANTS, replicas=["a", "b"])
    return RealWorld(real)


async def test_each_message_reaches_one_of_those_who_share(world: World) -> None:
    async with AsyncExitStack() as stack:
        device, a, b = [await stack.enter_async_context(running(world.make(name))) for name in (A, *REPLICAS)]
        mine, yours, all_of_it = Heard(), Heard(), Heard()
        a.on(FILTER, mine)
        b.on(FILTER, yours)
        a.on("hl/1/#", all_of_it)
        await settled(a)
        await settled(b)
        for number in range(40):
            await device.publish(UP, b"%d" % number)
        await until(lambda: len(mine) + len(yours) >= 40)
        await asyncio.sleep(0.1)
        assert sorted([*mine.payloads, *yours.payloads]) == sorted(b"%d" % number for number in range(40))
        assert (len(mine), len(yours)) == (20, 20)
        telling = [delivery for delivery in all_of_it if delivery.topic == UP]
        assert len(telling) == 40  # an ordinary subscription hears everything beside it


async def test_who_remains_gets_everything(world: World) -> None:
    async with AsyncExitStack() as stack:
        device, b = [await stack.enter_async_context(running(world.make(name))) for name in (A, REPLICAS[1])]
        heard = Heard()
        b.on(FILTER, heard)
        async with running(world.make(REPLICAS[0])) as a:
            a.on(FILTER, Heard())
            await settled(a)
        await settled(b)
        for number in range(10):
            await device.publish(UP, b"%d" % number)
        await until(lambda: len(heard) == 10)


async def test_what_a_member_had_in_hand_when_it_ended_comes_to_nobody_else(world: World) -> None:
    """Why devices wait for a coordinator's own acknowledgement."""
    async with AsyncExitStack() as stack:
        device, b = [await stack.enter_async_context(running(world.make(name))) for name in (A, REPLICAS[1])]
        heard, gate = Heard(), asyncio.Event()

        async def stuck(_delivery: object) -> None:
            await gate.wait()

        b.on(FILTER, heard)
        await settled(b)
        async with running(world.make(REPLICAS[0])) as a:
            a.on(FILTER, stuck)
            await settled(a)
            for number in range(400):  # more than a lane and the session hold together: the rest waits in the broker
                await device.publish(UP, b"%d" % number)
            await until(lambda: len(heard) == 200)
        await settled(b)
        await asyncio.sleep(0.5)
        assert len(heard) == 200
        await device.publish(UP, b"next")
        await until(lambda: heard.payloads[-1] == b"next")


async def test_a_device_that_knew_the_group_would_have_messages_lost_and_without_it_loses_none(world: World) -> None:
    """The broker takes anybody into a group, and drops what that one may not read: so the group's name is secret."""
    async with AsyncExitStack() as stack:
        device, a = [await stack.enter_async_context(running(world.make(name))) for name in (A, REPLICAS[0])]
        heard, stolen = Heard(), Heard()
        a.on(FILTER, heard)
        await settled(a)
        for guess in ("coordinator", "hinterland", "+", "#"):
            device.on(topics.shared_up(Up.TELEMETRY, group=guess), stolen)
        await settled(device)
        for number in range(20):
            await device.publish(UP, b"%d" % number)
        await until(lambda: len(heard) == 20)
        device.on(FILTER, stolen)
        await settled(device)
        for number in range(20):
            await device.publish(UP, b"%d" % number)
        await until(lambda: len(heard) == 30)
        await asyncio.sleep(0.2)
        assert (len(heard), stolen) == (30, [])


async def test_what_is_retained_reaches_each_who_comes_to_share(world: World) -> None:
    """Against MQTT 5, section 4.8.2; mosquitto 2.0.11 does so. A device that retains a report has it counted once."""
    async with AsyncExitStack() as stack:
        device, a = [await stack.enter_async_context(running(world.make(name))) for name in (A, REPLICAS[0])]
        await device.publish(UP, b"kept", retain=True)
        heard = Heard()
        a.on(FILTER, heard)
        await settled(a)
        await device.publish(UP, b"live")
        await until(lambda: heard.payloads == [b"kept", b"live"])


async def test_replicas_do_not_end_each_others_sessions(world: World) -> None:
    async with running(world.make(REPLICAS[0])) as a, running(world.make(REPLICAS[1])) as b:
        await asyncio.sleep(0.3)
        assert (a.sessions, b.sessions, a.taken_over, b.taken_over) == (1, 1, 0, 0)
