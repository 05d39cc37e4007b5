"""What crosses the link for a release, given what the device holds and what may happen on the way."""

import asyncio
import errno
from datetime import UTC, datetime

import numpy as np
import pytest

from cloud.distribution.fleets import MemoryFleets
from cloud.rollout.windows import DAYS
from edge.update.pace import Patience
from shared import topics
from shared.bundle import CHUNK_SIZE, pieces
from shared.bus import Delivery
from shared.codec import unpack
from shared.distribution import Distribution, TimeWindow
from shared.messages import Want
from shared.topics import Up

SIZE = 3 * CHUNK_SIZE + 1000


def int8(seed, *, after=None, step=0.3):
    """An int8 model, or one that a small step of training made of another."""
    noise = np.random.default_rng(seed).standard_normal(SIZE)
    weights = noise * 30 if after is None else np.frombuffer(after, np.int8) + noise * step
    return np.clip(np.round(weights), -127, 127).astype(np.int8).tobytes()


ONE, OTHER = int8(1), int8(9)
TWO = int8(2, after=ONE)


@pytest.fixture
async def world(update_world, running):
    """Release 1 serves."""
    async with running(*update_world.parts):
        await bring(update_world, 1, ONE)
        yield update_world


async def bring(world, counter, data):
    """Make a release and have the device fetch it; return the bytes that the coordinator sent."""
    before = world.server.bytes
    world.release(counter, data)
    await world.desire(activity=f"activity-{counter}")
    await world.device.reconciler.reconcile_once()
    return world.server.bytes - before


def serves(world, counter):
    return world.device.serving.serving == {"activity": f"activity-{counter}"}


async def test_a_small_step_is_sent_as_what_changed(world):
    assert await bring(world, 2, TWO) < 0.3 * SIZE
    assert serves(world, 2)


async def test_chunks_of_both_slots_are_not_sent_again(world):
    await bring(world, 2, OTHER)
    again = ONE[: 2 * CHUNK_SIZE] + OTHER[2 * CHUNK_SIZE :]
    assert await bring(world, 3, again) == 0
    assert serves(world, 3)


async def test_a_disk_that_fails_while_chunks_are_copied_ends_the_attempt_at_once(world, monkeypatch):
    """Nothing is asked for that could not be kept, and the reason that is told is the disk."""
    await bring(world, 2, OTHER)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("edge.update.partial._write_all", full)
    assert await bring(world, 3, ONE[: 2 * CHUNK_SIZE] + int8(3)[2 * CHUNK_SIZE :]) == 0
    assert world.device.stages("activity-3")[-1] == "failed"
    assert "could not be kept: No space left" in world.device.reasons("activity-3")[-1]
    assert serves(world, 2)


async def test_a_base_that_rotted_costs_bytes_and_nothing_else(world):
    slot = world.device.models / "activity" / "A" / "cpu.onnx"
    slot.write_bytes(bytes([ONE[0] ^ 1]) + ONE[1:])
    assert await bring(world, 2, TWO) < 0.6 * SIZE
    assert serves(world, 2)
    assert (world.device.models / "activity" / "B" / "cpu.onnx").read_bytes() == TWO


async def test_whatever_alters_forms_leaves_plain_bytes(world):
    def on_the_way(_receiver, delivery):
        formed = delivery.topic.count("/") == 5 and "/blob/" in delivery.topic
        return [Delivery(delivery.topic, b"\x01\x01" + delivery.payload[2:]) if formed else delivery]

    world.broker.on_the_way = on_the_way
    assert await bring(world, 2, TWO) > SIZE
    assert serves(world, 2)


async def test_a_coordinator_that_knows_no_forms_is_understood(update_world, running):
    world, asked = update_world, []

    async def answer(delivery):
        want = unpack(delivery.payload, Want)
        asked.append(want)
        for index in want.indices:
            piece = list(pieces(ONE))[index]
            await world.coordinator.publish(topics.chunk(want.digest, index), piece)

    await world.coordinator.off(topics.all_up(Up.WANT))
    world.coordinator.on(topics.all_up(Up.WANT), answer)
    async with running(world.coordinator, world.device.bus):
        await bring(world, 1, ONE)
    assert serves(world, 1)
    assert asked[0].forms == ["z"]


async def test_a_drip_ends_the_attempt_and_keeps_what_came(world):
    world.device.patience = Patience(silence_s=0.05, most_s=0.05, give_up_s=60, floor_bytes=SIZE, floor_s=0.4)
    world.device.restart()
    world.broker.on_the_way = lambda _receiver, delivery: (
        [] if "/blob/" in delivery.topic and not delivery.topic.endswith("/1") else [delivery]
    )
    await bring(world, 2, TWO)
    assert world.device.stages("activity-2")[-1] == "failed"
    assert world.device.reasons("activity-2")[-1].startswith("transport: less than")
    world.broker.on_the_way = lambda _receiver, delivery: [delivery]
    seen = []
    world.device.bus.on("hl/1/blob/+/+/+", lambda delivery: keep(seen, delivery))
    world.device.restart()
    await world.device.reconciler.reconcile_once()
    assert serves(world, 2)
    assert "1" not in {topic.rpartition("/")[2] for topic in seen}


async def keep(seen, delivery):
    seen.append(delivery.topic)


async def test_a_fleet_that_is_shut_is_waited_for(world, until):
    far = DAYS[(datetime.now(UTC).weekday() + 3) % 7]
    shut = Distribution(windows=[TimeWindow(days=[far], start="00:00", end="24:00")])
    fleets = MemoryFleets(devices={"device-a": "north"}, rules={"north": shut})
    world.server._fleets = fleets
    await world.server.look_once()
    world.device.patience = Patience(silence_s=0.02, most_s=0.05, give_up_s=0.4)
    world.device.restart()
    attempt = asyncio.create_task(bring(world, 2, TWO))
    await asyncio.sleep(1.2)
    assert not attempt.done()
    fleets.held.clear()
    await world.server.look_once()
    await asyncio.wait_for(attempt, 8)
    assert serves(world, 2)
