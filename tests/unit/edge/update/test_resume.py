import asyncio
import shutil
from random import Random

import msgspec
import pytest

from edge.update.journal import Entry
from edge.update.resume import MAX_STARTS
from edge.update.serving import MemoryServing
from edge.update.slots import Slots
from shared.bundle import split
from shared.codec import unpack
from shared.errors import FaultError
from shared.ids import sha256
from shared.messages import Stage, Want
from shared.trust import inspect_slot, seal_slot

ONE, TWO = Random(1).randbytes(300_000), Random(2).randbytes(300_000)


@pytest.fixture
async def world(update_world, running):
    """Releases 1 and 2 have run; slot B serves 2, slot A still holds 1."""
    async with running(*update_world.parts):
        for counter, data in enumerate((ONE, TWO), start=1):
            update_world.release(counter, data)
            await update_world.desire(activity=f"activity-{counter}")
            await update_world.device.reconciler.reconcile_once()
    update_world.device.said.clear()
    return update_world


def damage(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


async def test_the_committed_release_serves_again_without_a_link(world):
    device = world.device
    device.restart()
    await device.reconciler.resume()
    assert device.serving.serving == {"activity": "activity-2"}
    assert device.stages("activity-2") == ["active"]


async def test_a_rotten_slot_gives_way_to_the_other_and_is_fetched_again(world, running):
    device = world.device
    damage(device.models / "activity" / "B" / "cpu.onnx")
    device.restart()
    await device.reconciler.resume()
    assert device.serving.serving == {"activity": "activity-1"}
    assert device.stages("activity-2") == ["rolled-back"]
    assert "altered" in device.reasons("activity-2")[0]
    async with running(*world.parts):
        await world.publish()
        await device.reconciler.reconcile_once()
    assert device.serving.serving == {"activity": "activity-2"}


async def test_both_slots_bad_is_safe_mode_which_reports_and_recovers(world, running):
    device = world.device
    damage(device.models / "activity" / "A" / "cpu.onnx")
    (device.models / "activity" / "B" / "extra").write_bytes(b"")
    device.restart()
    await device.reconciler.resume()
    assert device.serving.serving == {}
    assert device.stages("activity-2") == ["failed"]
    async with running(*world.parts):
        await world.publish()
        await device.reconciler.reconcile_once()
    assert device.serving.serving == {"activity": "activity-2"}


async def test_a_slot_that_no_model_key_vouches_for_does_not_serve_again(world):
    """Somebody who may write the disk makes seal, manifest and model agree with each other."""
    device, slot = world.device, world.device.models / "activity" / "B"
    release = inspect_slot(slot).release
    evil = b"backdoor" * 1000
    variant = msgspec.structs.replace(release.variants[0], digest=sha256(evil), size=len(evil), chunks=split(evil))
    for path in slot.iterdir():
        path.unlink()
    (slot / variant.name).write_bytes(evil)
    seal_slot(slot, release=msgspec.structs.replace(release, variants=[variant]), variant=variant)
    device.restart()
    await device.reconciler.resume()
    assert device.serving.serving == {"activity": "activity-1"}
    assert "model signature" in device.reasons("activity-2")[0]


async def test_altered_bytes_are_not_counted_as_starts_that_ended_the_agent(world):
    device = world.device
    for slot in "AB":
        damage(device.models / "activity" / slot / "cpu.onnx")
    for _ in range(MAX_STARTS + 2):
        device.restart()
        device.said.clear()
        await device.reconciler.resume()
    assert "altered" in device.reasons("activity-2")[0]


@pytest.mark.parametrize("pointer", [b"", b"C", b"\xff"])
async def test_a_damaged_pointer_is_settled_by_the_journal(world, pointer):
    device = world.device
    (device.models / "activity" / "active").write_bytes(pointer)
    device.restart()
    await device.reconciler.resume()
    assert device.serving.serving == {"activity": "activity-2"}
    assert (device.models / "activity" / "active").read_text() == "B"


async def test_with_damaged_marks_it_serves_says_so_once_and_takes_nothing(world, running):
    device = world.device
    for copy in ("marks-1.json", "marks-2.json"):
        (device.directory / "trust" / copy).write_bytes(bytes(64))
    device.restart()
    await device.reconciler.resume()
    assert device.serving.serving == {"activity": "activity-2"}
    async with running(*world.parts):
        world.release(3, ONE + TWO)
        await world.desire(activity="activity-3")
        for _ in range(3):
            await device.reconciler.reconcile_once()
    assert device.serving.serving == {"activity": "activity-2"}
    (alarm,) = [status for status in device.said if not status.model]
    assert (alarm.stage.value, "high-water marks are damaged" in alarm.reason) == ("refused", True)
    assert device.stages("activity-3") == []


async def test_enrolled_again_after_damaged_marks_it_takes_the_newest_release(world, running):
    device = world.device
    for copy in ("marks-1.json", "marks-2.json"):
        (device.directory / "trust" / copy).write_bytes(bytes(64))
    device.restart()
    await device.reconciler.resume()
    shutil.rmtree(device.directory / "trust")
    device.restart()
    await device.reconciler.resume()
    assert device.serving.serving == {"activity": "activity-2"}
    async with running(*world.parts):
        world.release(3, ONE + TWO)
        await world.desire(activity="activity-3")
        await device.reconciler.reconcile_once()
    assert device.serving.serving == {"activity": "activity-3"}


async def test_a_damaged_journal_does_not_keep_the_slot_from_serving(world):
    device = world.device
    (device.directory / "journal.json").write_bytes(b"{")
    device.restart()
    await device.reconciler.resume()
    assert device.serving.serving == {"activity": "activity-2"}


class Stops(BaseException):
    """Stands for the end of the process."""


class StopsInTrial(MemoryServing):
    async def activate(self, model, release, variant, path):
        if release.counter == 3:
            raise Stops
        await super().activate(model, release, variant, path)


async def test_a_crash_in_the_trial_is_a_failed_trial(world, running):
    device = world.device
    device.restart(StopsInTrial())
    await device.reconciler.resume()
    async with running(*world.parts):
        world.release(3, ONE + TWO)
        await world.desire(activity="activity-3")
        with pytest.raises(Stops):
            await device.reconciler.reconcile_once()
        device.restart()
        await device.reconciler.resume()
        assert device.serving.serving == {"activity": "activity-2"}
        assert device.stages("activity-3")[-2:] == ["trial", "rolled-back"]
        assert device.parts.journal.entry("activity").trials == 1
        await world.publish()
        await device.reconciler.reconcile_once()
    assert device.serving.serving == {"activity": "activity-3"}
    assert device.parts.journal.entry("activity").trials == 0  # it passed: what was before does not count any more


async def test_a_crash_after_the_pointer_was_switched_is_a_commit(world):
    device = world.device
    entry = Entry(release="activity-1", stage=Stage.TRIAL, slot="A", variant="cpu.onnx", trials=1)
    device.parts.journal.write("activity", entry)
    Slots(device.models, "activity").commit("A")
    device.restart()
    await device.reconciler.resume()
    assert device.parts.journal.entry("activity").stage is Stage.ACTIVE
    assert device.serving.serving == {"activity": "activity-1"}


async def test_an_unfinished_download_goes_on_where_it_stopped(world, running, until):
    device, wanted = world.device, []

    def watched(_receiver, delivery):
        if delivery.topic.endswith("/up/want"):
            wanted.append(unpack(delivery.payload, Want).indices)
        return [delivery]

    def losing(receiver, delivery):
        return [] if delivery.topic.endswith("/2") else watched(receiver, delivery)

    world.broker.on_the_way = losing
    device.restart()
    await device.reconciler.resume()
    async with running(*world.parts):
        world.release(3, Random(3).randbytes(1_000_000))
        await world.desire(activity="activity-3")
        attempt = asyncio.create_task(device.reconciler.reconcile_once())
        await until(lambda: [2] in wanted)
        attempt.cancel()
        await asyncio.gather(attempt, return_exceptions=True)
        assert device.parts.journal.entry("activity").stage is Stage.DOWNLOADING
        world.broker.on_the_way = watched
        wanted.clear()
        device.restart()
        await device.reconciler.resume()
        await world.publish()
        await device.reconciler.reconcile_once()
    assert device.serving.serving == {"activity": "activity-3"}
    assert set(map(tuple, wanted)) == {(2,)}


async def test_a_release_that_ends_the_agent_at_each_start_gives_way(world):
    device = world.device

    class StopsAtStart(MemoryServing):
        async def activate(self, model, release, variant, path):
            if release.counter == 2:
                raise Stops
            await super().activate(model, release, variant, path)

    for _ in range(MAX_STARTS):
        device.restart(StopsAtStart())
        with pytest.raises(Stops):
            await device.reconciler.resume()
    device.restart(StopsAtStart())
    await device.reconciler.resume()
    assert device.serving.serving == {"activity": "activity-1"}
    assert "ended the agent" in device.reasons("activity-2")[-1]


async def test_a_rolled_back_release_is_no_refuge(world, running):
    device = world.device
    device.serving.broken["activity-3"] = FaultError("does not load")
    async with running(*world.parts):
        world.release(3, ONE + TWO)
        await world.desire(activity="activity-3")
        await device.reconciler.reconcile_once()
    damage(device.models / "activity" / "B" / "cpu.onnx")
    device.restart()
    await device.reconciler.resume()
    assert device.serving.serving == {}


async def test_a_rollback_whose_note_was_lost_is_known_by_the_pointer(world):
    device = world.device
    Slots(device.models, "activity").commit("A")  # what a relapse does, on a disk that takes no journal
    device.restart()
    await device.reconciler.resume()
    entry = device.parts.journal.entry("activity")
    assert device.serving.serving == {"activity": "activity-1"}
    assert (entry.release, entry.stage, entry.trials) == ("activity-2", Stage.ROLLED_BACK, 1)


async def test_a_step_that_was_journalled_before_there_was_a_directory_is_settled(world):
    device = world.device
    device.parts.journal.write("gesture", Entry(release="gesture-1", stage=Stage.DOWNLOADING))
    device.restart()
    await device.reconciler.resume()
    assert device.parts.journal.entry("gesture").stage is Stage.OFFERED
