"""Rows 15 to 17: a download over a wire that breaks, drips, or brings chunks twice and in any order."""

import shutil
from contextlib import asynccontextmanager
from dataclasses import replace
from random import Random

import pytest

from cloud.devices.broker import COORDINATOR, Grant
from edge.update.pace import Patience
from shared.bundle import CHUNK_SIZE
from shared.bus import Delivery
from shared.bus.mqtt import MqttBus
from tests.fault.agent import Place, Station
from tests.fault.ground import DEVICE, FLEET, TENANT, make_ground, wanted
from tests.fault.proxy import Proxy
from tests.fault.verdict import committed

pytestmark = [pytest.mark.slow, pytest.mark.system]

CALM = Patience(silence_s=1.5, most_s=1.5, give_up_s=120)
"""Of a device that asks twice for nothing that a busy machine only delays."""

CHUNKS = 8
BYTES = {counter: Random(counter).randbytes((CHUNKS - 1) * CHUNK_SIZE + 1000) for counter in (1, 2)}
SECOND = {"activity": "activity-2"}
CUTS = [1, 3_000, 8_000, 100_000, 262_144, 300_000, 600_000, 1_000_000, 1_500_000, 1_840_000]


@pytest.fixture(scope="module")
def big(work):
    """Two releases of eight chunks, and a device that runs the first."""
    releases = {f"activity-{counter}": (data, "cpu") for counter, data in BYTES.items()}
    states = {"one": wanted(activity="activity-1"), "two": wanted(activity="activity-2")}
    return make_ground(work / "big", releases, states)


@pytest.fixture
async def place(big, tmp_path):
    place = Place(tmp_path / "device", tmp_path / "said")
    station = Station(big, place, state="one")
    await station.start()
    await station.follow()
    return place


@pytest.fixture
def mosquitto(make_mosquitto):
    return make_mosquitto([Grant(DEVICE, FLEET, TENANT)])


@asynccontextmanager
async def wired(ground, place, mosquitto, *, patience=None):
    """A station on the second release behind a proxy to the real broker."""
    proxy = Proxy(mosquitto.broker.port)
    await proxy.open()
    link = (
        MqttBus(mosquitto.endpoint(COORDINATOR), identity=COORDINATOR, random=Random(1)),
        MqttBus(replace(mosquitto.endpoint(DEVICE), port=proxy.port), identity=DEVICE, random=Random(1)),
    )
    station = Station(ground, place, state="two", link=link)
    if patience is not None:
        station.parts = replace(station.parts, patience=patience)
        station.reconciler = type(station.reconciler)(station.parts)
    try:
        yield station, proxy
    finally:
        await proxy.close()


def proven(ground, place):
    return committed(ground, place, "activity")


async def test_a_whole_wire_brings_each_chunk_once(big, place, mosquitto):
    async with wired(big, place, mosquitto, patience=replace(CALM, silence_s=60)) as (station, proxy):
        await station.start()
        await station.follow()
    assert proven(big, place) == "activity-2"
    assert (station.server.published, proxy.broken) == (CHUNKS, 0)


@pytest.mark.parametrize("at", CUTS)
async def test_row_15_download_cut_at_byte_n(big, place, mosquitto, at):
    async with wired(big, place, mosquitto) as (station, proxy):
        proxy.cuts = [at, at + 200_000]
        await station.start()
        await station.follow()
    assert place.heard("end")[-1] == SECOND
    assert proven(big, place) == "activity-2"
    assert proxy.broken == 2
    assert set(place.heard("loaded")) <= big.digests


async def test_row_15_what_came_before_a_cut_is_not_sent_again(big, place, mosquitto):
    async with wired(big, place, mosquitto, patience=CALM) as (station, proxy):
        proxy.cuts = [1_500_000]  # five chunks lie on the disk, or six
        await station.start()
        await station.follow()
    assert proven(big, place) == "activity-2"
    assert proxy.passed < 1_500_000 + 4 * CHUNK_SIZE


async def test_row_16_a_slow_drip_ends_the_attempt_and_a_better_wire_the_next_one(big, place, mosquitto):
    patience = Patience(silence_s=0.1, most_s=0.2, give_up_s=0.3)  # a floor of one chunk in 0.3 s
    async with wired(big, place, mosquitto, patience=patience) as (station, proxy):
        await station.start()
        async with station.connected():
            proxy.rate = 1.5 * CHUNK_SIZE
            await station.reconciler.reconcile_once()
            assert station.serving() == {"activity": "activity-1"}
            reasons = [reason for release, stage, reason in place.heard("said") if stage == "failed"]
            assert ["no chunk came" in reason for reason in reasons] == [True]
    async with wired(big, place, mosquitto) as (station, _):  # a new process, which does not wait
        await station.start()
        assert station.serving() == {"activity": "activity-1"}
        await station.follow()
    assert proven(big, place) == "activity-2"


async def test_row_16_a_drip_above_the_floor_is_followed_to_the_end(big, place, mosquitto):
    patience = Patience(silence_s=0.2, most_s=0.2, give_up_s=30)
    async with wired(big, place, mosquitto, patience=patience) as (station, proxy):
        proxy.rate = 6 * CHUNK_SIZE
        await station.start()
        await station.follow()
    assert place.heard("end")[-1] == SECOND
    assert proven(big, place) == "activity-2"


@pytest.mark.parametrize("seed", range(12))
async def test_row_17_chunks_out_of_order_and_twice(big, place, tmp_path, seed):
    random, held = Random(seed), []

    def shuffled(_receiver, delivery):
        """Hold chunks back until so many are there, then give each out twice, in any order."""
        if "/blob/" not in delivery.topic:
            return [delivery]
        held.append(Delivery(delivery.topic, delivery.payload))
        if len(held) < random.randint(2, CHUNKS):
            return []
        out = held * 2
        held.clear()
        random.shuffle(out)
        return out

    copy = Place(tmp_path / "copy", tmp_path / "copy-said")
    shutil.copytree(place.device, copy.device, symlinks=True)
    station = Station(big, copy, state="two")
    station.broker.on_the_way = shuffled
    await station.start()
    await station.follow()
    assert copy.heard("end")[-1] == SECOND
    assert proven(big, copy) == "activity-2"
