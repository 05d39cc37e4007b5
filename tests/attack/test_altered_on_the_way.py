"""Somebody between coordinator and device alters, replays or withholds: the device says why, and serves on.

Each attack has an honest control: the same bytes, unaltered, are taken.
"""

from __future__ import annotations

from random import Random

import pytest

from edge.link.doubts import Doubts
from shared import topics
from shared.bundle import FleetDesired
from shared.bus import Delivery
from shared.errors import FaultError
from shared.ids import tenant_id

DEVICE = "device-a"
ONE, TWO = Random(1).randbytes(900_000), Random(2).randbytes(900_000)
TENANT = tenant_id("acme")


@pytest.fixture
async def world(update_world, running):
    """Release 1 serves."""
    async with running(*update_world.parts):
        update_world.release(1, ONE)
        await update_world.desire(activity="activity-1")
        await update_world.device.reconciler.reconcile_once()
        assert update_world.device.serving.serving == {"activity": "activity-1"}
        yield update_world


def flip(payload: bytes) -> bytes:
    middle = len(payload) // 2
    return payload[:middle] + bytes([payload[middle] ^ 1]) + payload[middle + 1 :]


def straight(_receiver: str, delivery: Delivery) -> list[Delivery]:
    return [delivery]


def altering(ending: str, *, copies: int):
    """Flip one byte in the first `copies` of each message whose topic ends so, in whatever form it comes."""
    left = {}

    def on_the_way(receiver: str, delivery: Delivery) -> list[Delivery]:
        if receiver != DEVICE or not delivery.payload or not delivery.topic.endswith(ending):
            return [delivery]
        name = delivery.topic.rpartition("/")[2]
        if left.setdefault(name, copies) <= 0:
            return [delivery]
        left[name] -= 1
        return [Delivery(delivery.topic, flip(delivery.payload), delivery.retained)]

    return on_the_way


async def test_one_flipped_byte_is_refused_and_the_honest_copy_taken(world):
    device = world.device
    world.release(2, TWO)
    await world.desire(activity="activity-2")
    world.broker.on_the_way = altering("/1", copies=1)
    await device.reconciler.reconcile_once()
    assert device.reasons("activity-2") == [
        "trust: chunk 1 of cpu.onnx is not the one that was signed; asked for again"
    ]
    assert device.serving.serving == {"activity": "activity-2"}
    assert (device.models / "activity" / "B" / "cpu.onnx").read_bytes() == TWO


async def test_bytes_flipped_for_ever_never_become_active(world):
    device = world.device
    world.release(2, TWO)
    await world.desire(activity="activity-2")
    world.broker.on_the_way = altering("/1", copies=10**9)
    await device.reconciler.reconcile_once()
    assert device.serving.serving == {"activity": "activity-1"}
    assert device.stages("activity-2")[-1] == "failed"
    assert "alters" not in device.reasons("activity-2")[-1]
    assert "chunk 1" in device.reasons("activity-2")[-1]
    assert (device.models / "activity" / "active").read_text() == "A"
    world.broker.on_the_way = straight
    device.reconciler._ended.clear()
    await device.reconciler.reconcile_once()
    assert device.serving.serving == {"activity": "activity-2"}


async def test_chunks_of_the_old_release_are_not_taken_for_the_new(world):
    device = world.device
    world.release(2, TWO)
    await world.desire(activity="activity-2")
    world.broker.on_the_way = lambda _receiver, delivery: [
        Delivery(delivery.topic, ONE[: 256 << 10], delivery.retained) if "/blob/" in delivery.topic else delivery
    ]
    await device.reconciler.reconcile_once()
    assert device.serving.serving == {"activity": "activity-1"}
    assert device.stages("activity-2")[-1] == "failed"


async def test_replayed_metadata_of_the_first_release_is_refused(world, until):
    device = world.device
    old = world.repository.files()
    world.release(2, TWO)
    await world.desire(activity="activity-2")
    await device.reconciler.reconcile_once()
    assert device.serving.serving == {"activity": "activity-2"}
    for name, data in old:
        await world.coordinator.publish(f"{topics.tuf_all(TENANT)[:-1]}{name}", data, retain=True)
    stamp = dict(old)["metadata/timestamp.json"]
    await until(lambda: device.files.read("metadata/timestamp.json") == stamp)
    await device.reconciler.reconcile_once()
    await device.reconciler.reconcile_once()
    refusals = [status for status in device.said if status.stage.value == "refused"]
    assert len(refusals) == 1
    assert refusals[0].reason.startswith("trust: ")
    assert device.serving.serving == {"activity": "activity-2"}
    device.restart()  # also when nothing but the disk remembers
    await device.reconciler.resume()
    await device.reconciler.reconcile_once()
    assert device.serving.serving == {"activity": "activity-2"}


async def test_honest_metadata_after_a_replay_is_taken(world, until):
    device = world.device
    stamp = ("metadata/timestamp.json", dict(world.repository.files())["metadata/timestamp.json"])
    world.release(2, TWO)
    await world.desire(activity="activity-2")
    await device.reconciler.reconcile_once()
    await world.coordinator.publish(f"{topics.tuf_all(TENANT)[:-1]}{stamp[0]}", stamp[1], retain=True)
    await until(lambda: device.files.read(stamp[0]) == stamp[1])
    await device.reconciler.reconcile_once()
    world.release(3, ONE + TWO)
    await world.desire(activity="activity-3")
    await device.reconciler.reconcile_once()
    assert device.serving.serving == {"activity": "activity-3"}
    assert [status.stage.value for status in device.said if not status.model] == ["refused", "verified"]


async def test_a_pending_release_is_not_blamed_for_a_replay(world, until):
    device = world.device
    old = dict(world.repository.files())["metadata/timestamp.json"]
    device.serving.broken["activity-2"] = FaultError("no memory just now")
    world.release(2, TWO)
    await world.desire(activity="activity-2")
    await device.reconciler.reconcile_once()
    await world.coordinator.publish(f"{topics.tuf_all(TENANT)[:-1]}metadata/timestamp.json", old, retain=True)
    await until(lambda: device.files.read("metadata/timestamp.json") == old)
    device.serving.broken.clear()
    device.reconciler._ended.clear()
    await device.reconciler.reconcile_once()
    assert "refused" not in device.stages("activity-2")
    world.repository.renew()
    await world.desire(activity="activity-2", other="")
    await device.reconciler.reconcile_once()
    assert device.serving.serving == {"activity": "activity-2"}


ALTERED = [".manifest.json", ".releases.json", ".snapshot.json", "timestamp.json", ".fleet-north.json", ".desired.json"]
"""Every kind of signed file that leads to a release."""


def much_later(device):
    """The pauses of updates and of questions are over."""
    device.reconciler._ended.clear()
    device.files._doubts = Doubts()


async def publish(world):
    """As `desire`, where what reaches the device cannot be told from what was sent."""
    world.repository.set_desired(FleetDesired(fleet="north", default={"activity": "activity-2"}))
    handled = world.device.bus.counts.handled
    files = world.repository.files()
    sent = await world.publisher.publish(files, fleets=["north"], timestamp=world.repository.timestamp_version)
    await world.until(lambda: world.device.bus.counts.handled >= handled + sent)


@pytest.mark.parametrize("ending", ALTERED)
async def test_altered_for_ever_nothing_is_used_and_everything_reported(world, ending):
    device = world.device
    world.release(2, TWO)
    world.broker.on_the_way = altering(ending, copies=10**9)
    await publish(world)
    for _ in range(3):
        await device.reconciler.reconcile_once()
        much_later(device)
    assert device.serving.serving == {"activity": "activity-1"}
    said = [status for status in device.said if status.stage.value in ("refused", "failed")]
    assert said
    assert all(status.reason.startswith("trust: ") for status in said)
    assert not {"downloading", "verified", "trial", "active"} & set(device.stages("activity-2"))


@pytest.mark.parametrize("ending", ALTERED)
async def test_the_attacker_goes_away_and_the_same_release_is_taken(world, ending):
    device = world.device
    world.release(2, TWO)
    world.broker.on_the_way = altering(ending, copies=10**9)
    await publish(world)
    await device.reconciler.reconcile_once()
    assert device.serving.serving == {"activity": "activity-1"}
    sessions, version = device.bus.sessions, world.repository.timestamp_version
    world.broker.on_the_way = straight
    much_later(device)
    await device.reconciler.reconcile_once()
    assert device.serving.serving == {"activity": "activity-2"}
    assert device.bus.sessions == sessions, "no new session was needed"
    assert world.repository.timestamp_version == version, "nor newer metadata"


@pytest.mark.parametrize("ending", ALTERED)
async def test_one_altered_copy_is_asked_for_again_at_once(world, ending):
    device = world.device
    world.release(2, TWO)
    world.broker.on_the_way = altering(ending, copies=1)
    await publish(world)
    await device.reconciler.reconcile_once()
    assert device.serving.serving == {"activity": "activity-2"}


async def test_an_altered_manifest_counts_as_a_failure_and_is_left_alone_for_a_while(world):
    device = world.device
    world.release(2, TWO)
    world.broker.on_the_way = altering(".manifest.json", copies=10**9)
    await publish(world)
    for failures in (1, 2):
        await device.reconciler.reconcile_once()
        entry = device.parts.journal.entry("activity")
        assert (entry.stage.value, entry.failures, entry.distrusted, entry.trials) == ("failed", failures, False, 0)
        assert device.stages("activity-2") == ["failed"] * failures
        await device.reconciler.reconcile_once()
        assert device.stages("activity-2") == ["failed"] * failures, "its pause is not over"
        much_later(device)


async def test_altered_before_a_restart_and_honest_after_it(world):
    device = world.device
    world.release(2, TWO)
    world.broker.on_the_way = altering(".manifest.json", copies=10**9)
    await publish(world)
    await device.reconciler.reconcile_once()
    device.restart()
    await device.reconciler.resume()
    assert device.serving.serving == {"activity": "activity-1"}
    world.broker.on_the_way = straight
    device.files._doubts = Doubts()
    await device.reconciler.reconcile_once()
    assert device.serving.serving == {"activity": "activity-2"}


async def test_what_is_signed_and_wrong_is_left_alone_until_the_signers_say_something_new(world):
    """The control: every byte as it was signed, but the release is of another line than it is desired for."""
    device = world.device
    world.release(1, TWO, model="gait")
    await world.desire(activity="gait-1")
    for _ in range(3):
        await device.reconciler.reconcile_once()
        much_later(device)
    assert device.stages("gait-1") == ["offered", "refused"]
    assert device.parts.journal.entry("activity").distrusted
    world.release(2, TWO)
    await world.desire(activity="activity-2")
    await device.reconciler.reconcile_once()
    assert device.serving.serving == {"activity": "activity-2"}
