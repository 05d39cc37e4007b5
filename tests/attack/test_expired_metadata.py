"""Frozen metadata and wrong clocks, from the signers to a device that serves: updates stop, inference never does."""

from dataclasses import dataclass
from random import Random

import pytest

from cloud.store.database import open_database, sqlite_url
from cloud.store.events import Events
from cloud.store.reports import Projection
from shared.clock import SystemClock
from shared.codec import pack
from shared.messages import Record, Stage
from shared.topics import Up

DAY = 86_400.0
ONE, TWO = Random(1).randbytes(100_000), Random(2).randbytes(100_000)


@dataclass
class ShiftedClock:
    """A wall clock that is wrong by `by`; time passes on it as it does elsewhere."""

    by: float = 0.0

    def now(self) -> float:
        return SystemClock().now() + self.by

    def monotonic(self) -> float:
        return SystemClock().monotonic()


@pytest.fixture
def world(update_world):
    update_world.device.clock = ShiftedClock()
    update_world.device.restart()
    return update_world


def complaints(device):
    return [(status.stage, status.reason.partition(":")[0]) for status in device.said if not status.release]


async def serve_first(world):
    world.release(1, ONE)
    await world.desire(activity="activity-1")
    await world.device.reconciler.reconcile_once()
    assert world.device.serving.serving == {"activity": "activity-1"}


@pytest.mark.parametrize("days", [2, 400])
async def test_metadata_that_has_expired_stops_updates_and_nothing_else(world, running, days):
    device = world.device
    async with running(*world.parts):
        await serve_first(world)
        world.release(2, TWO)
        await world.desire(activity="activity-2")
        device.clock.by = days * DAY
        for _ in range(3):
            await device.reconciler.reconcile_once()
        assert complaints(device) == [(Stage.REFUSED, "expired")]  # an alarm, once
        assert device.serving.serving == {"activity": "activity-1"}
        device.restart()  # and a start without any valid metadata serves what is committed
        await device.reconciler.resume()
        await device.reconciler.reconcile_once()
        assert device.serving.serving == {"activity": "activity-1"}
        device.clock.by = 0.0  # the clock is right again
        await device.reconciler.reconcile_once()
        assert device.serving.serving == {"activity": "activity-2"}
        assert complaints(device)[-1] == (Stage.VERIFIED, "")


async def test_the_signers_recover_it_with_a_renewal(world, running):
    device = world.device
    async with running(*world.parts):
        await serve_first(world)
        later = ShiftedClock(by=8 * DAY)
        device.clock = later
        device.restart()
        await device.reconciler.resume()
        await device.reconciler.reconcile_once()
        assert complaints(device) == [(Stage.REFUSED, "expired")]
        world.repository._clock = later
        assert {"timestamp", "snapshot"} <= set(world.repository.renew().signed)
        world.release(2, TWO)
        await world.desire(activity="activity-2")
        await device.reconciler.reconcile_once()
        assert device.serving.serving == {"activity": "activity-2"}
        assert complaints(device)[-1] == (Stage.VERIFIED, "")


@pytest.mark.parametrize("back", [30 * DAY, 50 * 365 * DAY], ids=["-30 days", "1970"])
async def test_a_clock_set_back_is_held_up_by_the_signed_issue_time(world, running, back):
    device = world.device
    async with running(*world.parts):
        await serve_first(world)
        device.clock.by = -back
        device.restart()
        await device.reconciler.resume()
        world.release(2, TWO)
        await world.desire(activity="activity-2")
        await device.reconciler.reconcile_once()
        assert device.serving.serving == {"activity": "activity-2"}
        assert complaints(device) == []


async def test_a_clock_set_back_does_not_make_old_metadata_fresh(world, running):
    device = world.device
    async with running(*world.parts):
        await serve_first(world)
        old = dict(world.repository.files())
        later = ShiftedClock(by=3 * DAY)
        world.repository._clock = device.clock = later
        world.repository.renew()
        await world.publish()
        device.restart()
        await device.reconciler.resume()
        await device.reconciler.reconcile_once()
        assert complaints(device) == []
        device.clock.by = 0.0
        await world.publisher.publish(list(old.items()), fleets=[], timestamp=1)
        await world.until(lambda: device.files.read("metadata/timestamp.json") == old["metadata/timestamp.json"])
        await device.reconciler.reconcile_once()
        assert [stage for stage, _ in complaints(device)] == [Stage.REFUSED]
        assert device.serving.serving == {"activity": "activity-1"}


async def test_the_alarm_is_on_the_coordinators_timeline(world, running, tmp_path):
    device, database = world.device, open_database(sqlite_url(tmp_path / "db.sqlite"))
    async with running(*world.parts):
        await serve_first(world)
        device.clock.by = 2 * DAY
        await device.reconciler.reconcile_once()
    with database.write() as connection:
        record = Record(seq=1, at=1.0, body=pack(device.said[-1]))
        projection = Projection(connection, ["device-a"], at=1.0)
        projection.add("device-a", Up.UPDATE, [record])
        projection.write()
        event = Events(connection).after(0)[-1]
    database.close()
    assert event.kind == "update.refused"
    assert event.text.startswith("device-a: signed metadata refused (expired: ")
