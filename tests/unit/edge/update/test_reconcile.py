from random import Random

import pytest

from edge.update.plan import MAX_TRIALS
from edge.update.serving import MemoryServing
from shared.errors import FaultError, TrustError

ONE, TWO = Random(1).randbytes(600_000), Random(2).randbytes(700_000)
FULL = ["offered", "downloading", "verified", "staged", "trial", "active"]


@pytest.fixture
def world(update_world):
    return update_world


async def test_a_release_becomes_active_step_by_step(world, running):
    device = world.device
    async with running(*world.parts):
        world.release(1, ONE)
        await world.desire(activity="activity-1")
        await device.reconciler.reconcile_once()
    assert device.serving.serving == {"activity": "activity-1"}
    assert device.stages("activity-1") == FULL
    last = device.said[-1]
    assert (last.slot, last.variant, last.received, last.total) == ("A", "cpu.onnx", len(ONE), len(ONE))


async def test_the_second_release_takes_the_other_slot(world, running):
    device = world.device
    async with running(*world.parts):
        for counter, data in enumerate((ONE, TWO), start=1):
            world.release(counter, data)
            await world.desire(activity=f"activity-{counter}")
            await device.reconciler.reconcile_once()
    assert (device.models / "activity" / "active").read_text() == "B"
    assert device.serving.history == ["activity-1", "activity-2"]
    assert not list((device.models / "activity" / "incoming").iterdir())


async def test_a_turn_with_nothing_to_do_does_nothing(world, running):
    device = world.device
    async with running(*world.parts):
        world.release(1, ONE)
        await world.desire(activity="activity-1")
        for _ in range(3):
            await device.reconciler.reconcile_once()
    assert device.stages("activity-1") == FULL


async def test_an_empty_release_keeps_what_is_there(world, running):
    device = world.device
    async with running(*world.parts):
        world.release(1, ONE)
        await world.desire(activity="activity-1")
        await device.reconciler.reconcile_once()
        await world.desire(activity="")
        await device.reconciler.reconcile_once()
    assert device.serving.serving == {"activity": "activity-1"}


async def test_models_update_side_by_side_and_one_failure_stays_alone(world, running):
    device = world.device
    device.serving.broken["fashion-1"] = FaultError("does not load")
    async with running(*world.parts):
        world.release(1, ONE)
        world.release(1, TWO, model="fashion")
        await world.desire(activity="activity-1", fashion="fashion-1")
        await device.reconciler.reconcile_once()
    assert device.serving.serving == {"activity": "activity-1"}
    assert device.stages("fashion-1")[-1] == "rolled-back"
    assert "does not load" in device.reasons("fashion-1")[-1]


async def test_models_without_a_use_are_not_fetched(world, running):
    device = world.device
    device.reconciler._models = {"fashion"}
    async with running(*world.parts):
        world.release(1, ONE)
        await world.desire(activity="activity-1")
        await device.reconciler.reconcile_once()
    assert device.said == []


async def test_without_metadata_nothing_happens(world):
    await world.device.reconciler.reconcile_once()
    assert world.device.said == []


async def test_failed_trial_keeps_the_old_release_and_is_tried_only_so_often(world, running):
    device = world.device
    async with running(*world.parts):
        world.release(1, ONE)
        await world.desire(activity="activity-1")
        await device.reconciler.reconcile_once()
        device.serving.broken["activity-2"] = FaultError("no memory")
        world.release(2, TWO)
        await world.desire(activity="activity-2")
        for _ in range(MAX_TRIALS + 2):
            device.reconciler._ended.clear()  # as if the pause were over
            await device.reconciler.reconcile_once()
    assert device.serving.serving == {"activity": "activity-1"}
    assert device.stages("activity-2").count("trial") == MAX_TRIALS
    assert (device.models / "activity" / "active").read_text() == "A"


async def test_failed_trial_is_left_alone_for_a_while(world, running):
    device = world.device
    device.serving.broken["activity-1"] = FaultError("no memory")
    async with running(*world.parts):
        world.release(1, ONE)
        await world.desire(activity="activity-1")
        await device.reconciler.reconcile_once()
        await device.reconciler.reconcile_once()
    assert device.stages("activity-1").count("trial") == 1


async def test_a_library_that_raises_anything_is_a_failed_trial(world, running):
    device = world.device
    device.serving.broken["activity-1"] = ZeroDivisionError("deep inside")
    async with running(*world.parts):
        world.release(1, ONE)
        await world.desire(activity="activity-1")
        await device.reconciler.reconcile_once()
    assert device.said[-1].reason == "fault: ZeroDivisionError: deep inside"


async def test_a_distrusted_model_waits_for_other_metadata(world, running):
    device = world.device
    device.serving.broken["activity-1"] = TrustError("custom operator")
    async with running(*world.parts):
        world.release(1, ONE)
        await world.desire(activity="activity-1")
        for _ in range(3):
            device.reconciler._ended.clear()
            await device.reconciler.reconcile_once()
        assert device.stages("activity-1").count("trial") == 1
        device.serving.broken.clear()
        await world.desire(activity="activity-1", other="")
        await device.reconciler.reconcile_once()
    assert device.serving.serving == {"activity": "activity-1"}


async def test_a_release_of_another_line_is_refused(world, running):
    device = world.device
    async with running(*world.parts):
        world.release(1, ONE, model="fashion")
        await world.desire(activity="fashion-1")
        await device.reconciler.reconcile_once()
    assert device.stages("fashion-1") == ["offered", "refused"]
    assert "another model line" in device.said[-1].reason


async def test_a_release_for_other_hardware_is_refused_once(world, running):
    device = world.device
    async with running(*world.parts):
        world.release(1, ONE)
        await world.desire(activity="activity-1")
        await device.reconciler.reconcile_once()
        world.release(2, TWO, hardware="sm87")
        await world.desire(activity="activity-2")
        await device.reconciler.reconcile_once()
        await device.reconciler.reconcile_once()
    assert device.stages("activity-2") == ["offered", "refused"]
    assert "sm87" in device.said[-1].reason
    assert device.serving.serving == {"activity": "activity-1"}


class DiskDiesInTrial(MemoryServing):
    """While the second release is loaded, the high-water marks become unwritable."""

    def __init__(self, trust):
        super().__init__()
        self.trust = trust

    async def activate(self, model, release, variant, path):
        await super().activate(model, release, variant, path)
        if release.counter == 2:
            for marks in self.trust.glob("marks-*.json"):
                marks.unlink()
                (marks / "occupied").mkdir(parents=True)


async def test_what_cannot_be_committed_gives_way_to_the_old_release(world, running):
    device = world.device
    async with running(*world.parts):
        world.release(1, ONE)
        await world.desire(activity="activity-1")
        await device.reconciler.reconcile_once()
        device.restart(DiskDiesInTrial(device.directory / "trust"))
        await device.reconciler.resume()
        world.release(2, TWO)
        await world.desire(activity="activity-2")
        await device.reconciler.reconcile_once()
    assert device.serving.history == ["activity-1", "activity-2", "activity-1"]
    assert device.stages("activity-2")[-1] == "rolled-back"
    assert (device.models / "activity" / "active").read_text() == "A"


async def test_chunks_that_another_release_brought_are_not_sent_again(world, running):
    device = world.device
    async with running(*world.parts):
        world.release(1, ONE)
        await world.desire(activity="activity-1")
        await device.reconciler.reconcile_once()
        before = world.server.published
        world.release(2, ONE[: 512 << 10] + TWO[: 200 << 10])
        await world.desire(activity="activity-2")
        await device.reconciler.reconcile_once()
    assert device.serving.serving == {"activity": "activity-2"}
    assert world.server.published - before == 1


async def test_the_loop_follows_what_is_published(world, running, until):
    device = world.device

    class Follower:
        async def run(self):
            await device.reconciler.run(device.files, check_s=5)

    async with running(*world.parts, Follower()):
        for counter, data in enumerate((ONE, TWO), start=1):
            world.release(counter, data)
            await world.desire(activity=f"activity-{counter}")
            await until(lambda counter=counter: device.serving.serving.get("activity") == f"activity-{counter}")
