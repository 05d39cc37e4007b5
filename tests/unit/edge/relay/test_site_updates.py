"""A site of three: one fetches over MQTT, two from it; the bytes that cross the link to the coordinator are counted."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from edge.relay.address import Address
from edge.relay.frames import Has, answer_head, read_frame
from edge.relay.neighbours import Relays, Site
from edge.relay.shelf import Shelf
from edge.relay.visit import Patience
from edge.update.neighbours import MemoryNeighbours
from shared.bundle import CHUNK_SIZE, pieces
from shared.clock import SystemClock, VirtualClock
from shared.ids import sha256
from tests.site import Place, at, impostor, noise
from tests.update_world import OTHERS, DeviceWorld

MODEL = noise(11, 20 * CHUNK_SIZE + 999)
CHUNKS = 21
PATIENCE = Patience(hesitate_s=0.5, poll_s=0.02)


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path / "place")


def relays(place, name, *addresses):
    return Relays(addresses, passport=place.passport(name), clock=SystemClock(), patience=PATIENCE)


@asynccontextmanager
async def site(place, world):
    """Device a relays for b and c."""
    shelf = Shelf(world.device.models, clock=VirtualClock())
    async with place.relay(shelf) as relay:
        world.device.neighbours = Site(shelf=shelf, relays=None)
        world.device.restart()
        others = [DeviceWorld(world, place.directory / name, name) for name in OTHERS]
        for other in others:
            other.neighbours = Site(shelf=None, relays=relays(place, other.device, at(relay)))
            other.restart()
        yield [world.device, *others], relay


async def informed(world, devices, until):
    """Wait until every device has the metadata that the first has."""
    stamp = world.device.files.read("metadata/timestamp.json")
    for device in devices:
        await until(lambda device=device: device.files.read("metadata/timestamp.json") == stamp)


async def test_neighbours_that_come_later_take_no_byte_from_the_coordinator(place, update_world, running, until):
    world = update_world
    async with site(place, world) as (devices, relay), running(*world.parts, *(each.bus for each in devices[1:])):
        world.release(1, MODEL)
        await world.desire(activity="activity-1")
        await informed(world, devices, until)
        await devices[0].reconciler.reconcile_once()
        assert world.server.published == CHUNKS
        await asyncio.gather(*(each.reconciler.reconcile_once() for each in devices[1:]))
    assert [each.serving.serving for each in devices] == [{"activity": "activity-1"}] * 3
    assert world.server.published == CHUNKS
    assert relay.served == 2 * CHUNKS
    assert [each.parts.neighbours._relays.saved for each in devices[1:]] == [len(MODEL)] * 2


async def test_neighbours_at_the_same_time_wait_for_the_one_that_fetches(place, update_world, running, until):
    world = update_world
    async with site(place, world) as (devices, _), running(*world.parts, *(each.bus for each in devices[1:])):
        world.release(1, MODEL)
        await world.desire(activity="activity-1")
        await informed(world, devices, until)
        await asyncio.gather(*(each.reconciler.reconcile_once() for each in devices))
    assert [each.serving.serving for each in devices] == [{"activity": "activity-1"}] * 3
    saved = [each.parts.neighbours._relays.saved for each in devices[1:]]
    assert saved == [len(MODEL)] * 2
    assert world.server.published == CHUNKS


async def test_a_delta_comes_from_the_relay_too(place, update_world, running, until):
    world = update_world
    async with site(place, world) as (devices, relay), running(*world.parts, *(each.bus for each in devices[1:])):
        for counter, data in enumerate([MODEL, MODEL[: 19 * CHUNK_SIZE] + noise(12, 5000)], start=1):
            world.release(counter, data)
            await world.desire(activity=f"activity-{counter}")
            await informed(world, devices, until)
            for device in devices:
                await device.reconciler.reconcile_once()
    assert [each.serving.serving for each in devices] == [{"activity": "activity-2"}] * 3
    assert world.server.published == CHUNKS + 1
    assert relay.served == 2 * (CHUNKS + 1)


async def test_when_the_relay_dies_in_the_middle_the_rest_comes_over_mqtt(place, update_world, running):
    world, given = update_world, list(pieces(MODEL, CHUNK_SIZE))[:5]

    async def dying(reader, writer):
        await read_frame(reader, most=1 << 20)
        for chunk in given:
            writer.write(answer_head(Has.HERE, len(chunk)) + chunk)
        await writer.drain()

    async with impostor(place.passport("relay-1").serving(), dying) as address, running(*world.parts):
        world.device.neighbours = Site(shelf=None, relays=relays(place, "device-a", address))
        world.device.restart()
        world.release(1, MODEL)
        await world.desire(activity="activity-1")
        await world.device.reconciler.reconcile_once()
    assert world.device.serving.serving == {"activity": "activity-1"}
    assert world.server.published == CHUNKS - len(given)


async def test_a_lying_relay_costs_nothing_but_its_own_help(place, update_world, running):
    world = update_world

    async def lying(reader, writer):
        await read_frame(reader, most=1 << 20)
        writer.write(answer_head(Has.HERE, CHUNK_SIZE) + bytes(CHUNK_SIZE))
        await writer.drain()

    async with impostor(place.passport("relay-1").serving(), lying) as address, running(*world.parts):
        world.device.neighbours = Site(shelf=None, relays=relays(place, "device-a", address))
        world.device.restart()
        world.release(1, MODEL)
        await world.desire(activity="activity-1")
        await world.device.reconciler.reconcile_once()
    assert world.device.stages("activity-1")[-1] == "active"
    assert world.server.published == CHUNKS


async def test_without_a_relay_there_is_no_difference_but_a_moment(place, update_world, running):
    world = update_world
    nobody = relays(place, "device-a", Address("127.0.0.1", 1))
    async with running(*world.parts):
        world.device.neighbours = Site(shelf=None, relays=nobody)
        world.device.restart()
        world.release(1, MODEL)
        await world.desire(activity="activity-1")
        await world.device.reconciler.reconcile_once()
    assert world.device.serving.serving == {"activity": "activity-1"}


async def test_the_twin_gives_what_it_holds(update_world, running):
    world, chunks = update_world, list(pieces(MODEL, CHUNK_SIZE))
    world.device.neighbours = MemoryNeighbours(*chunks[3:7], b"of something else")
    world.device.restart()
    async with running(*world.parts):
        world.release(1, MODEL)
        await world.desire(activity="activity-1")
        await world.device.reconciler.reconcile_once()
    assert world.server.published == CHUNKS - 4
    path = world.device.models / "activity" / "A" / "cpu.onnx"
    assert sha256(path.read_bytes()) == sha256(MODEL)
