"""A slow handler holds back the broker, not this process's memory."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from cloud.devices.broker import Grant
from shared import topics
from shared.bus.lanes import DEPTH
from shared.bus.mqtt import RECEIVE_MAXIMUM, MqttBus
from shared.bus.traffic import LOOSE_MAXIMUM
from shared.ids import device_id, fleet_id, tenant_id

pytestmark = pytest.mark.system

DEVICE = device_id("device-a")
FLOOD = 600


@pytest.mark.parametrize(("qos", "bound", "least"), [(1, RECEIVE_MAXIMUM, FLOOD), (0, LOOSE_MAXIMUM, 1)])
async def test_a_flood_waits_at_the_broker_or_is_dropped(make_mosquitto, running, until, qos, bound, least):
    mosquitto = make_mosquitto([Grant(DEVICE, fleet_id("north"), tenant_id("acme"))])
    coordinator, device = (
        MqttBus(mosquitto.endpoint(name), identity=name, random=Random(1)) for name in ("coordinator", DEVICE)
    )
    gate, handled, seen = asyncio.Event(), [], []

    async def slow(delivery):
        await gate.wait()
        handled.append(delivery.payload)

    coordinator.on(topics.all_up(topics.Up.TELEMETRY), slow)
    async with running(coordinator, device):
        for number in range(FLOOD):
            await device.publish(topics.up(DEVICE, topics.Up.TELEMETRY), b"%d" % number, qos=qos)
            seen.append(len(coordinator._session._traffic.came))
        await asyncio.sleep(0.3)
        seen.append(len(coordinator._session._traffic.came))
        assert max(seen) <= bound
        assert handled == []
        gate.set()
        await until(lambda: len(handled) >= least)
        await asyncio.sleep(0.2)
    assert len(handled) <= FLOOD if qos else len(handled) <= LOOSE_MAXIMUM + DEPTH + RECEIVE_MAXIMUM
    assert handled == sorted(handled, key=int)
