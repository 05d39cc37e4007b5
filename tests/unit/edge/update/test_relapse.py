"""What serves fails in service: faults 5, 6 and 11 to 14 of a device, after the commit."""

import asyncio
from random import Random

import numpy as np
import pytest

from edge.inference.host import ModelHost
from edge.inference.isolated import ALARM, IsolatedSession
from edge.update.journal import Entry
from edge.update.resume import MAX_STARTS
from edge.update.scrub import Scrub
from edge.update.serving import MemoryServing
from shared.bundle import Challenge
from shared.clock import SystemClock
from shared.errors import FaultError
from shared.messages import Stage
from tests.hostile_model import isolation

ONE, TWO, THREE = (Random(seed).randbytes(300_000) for seed in (1, 2, 3))


@pytest.fixture
async def world(update_world, running):
    """Release 1 ran, release 2 serves."""
    async with running(*update_world.parts):
        for counter, data in enumerate((ONE, TWO), start=1):
            update_world.release(counter, data)
            await update_world.desire(activity=f"activity-{counter}")
            await update_world.device.reconciler.reconcile_once()
        yield update_world


def entry(world):
    return world.device.parts.journal.entry("activity")


def damage(path, at=1000):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


async def test_the_slot_before_serves_again_and_the_release_is_left_alone(world):
    device, sent = world.device, world.server.published
    device.serving.sick["activity-2"] = "its process ended 3 times in a row: SIGSEGV"
    for _ in range(4):
        await device.reconciler.reconcile_once()
    assert device.serving.serving == {"activity": "activity-1"}
    assert device.reconciler.active == {"activity": "activity-1"}
    assert (device.models / "activity" / "active").read_text() == "A"
    assert device.stages("activity-2")[-2:] == ["active", "rolled-back"]
    assert "SIGSEGV" in device.reasons("activity-2")[-1]
    assert world.server.published == sent


async def test_it_stays_so_after_a_restart_and_another_offer(world):
    device = world.device
    device.serving.sick["activity-2"] = "hangs"
    await device.reconciler.reconcile_once()
    device.restart()
    await device.reconciler.resume()
    assert device.serving.serving == {"activity": "activity-1"}
    world.release(3, THREE)
    await world.desire(activity="activity-3")
    device.serving.broken["activity-3"] = FaultError("does not load")
    await device.reconciler.reconcile_once()
    await world.desire(activity="activity-2")
    await device.reconciler.reconcile_once()
    assert device.serving.serving == {"activity": "activity-1"}
    assert device.stages("activity-2")[-1] == "rolled-back"


async def test_a_better_release_is_taken_after_a_relapse(world):
    device = world.device
    device.serving.sick["activity-2"] = "hangs"
    await device.reconciler.reconcile_once()
    world.release(3, THREE)
    await world.desire(activity="activity-3")
    await device.reconciler.reconcile_once()
    assert device.serving.serving == {"activity": "activity-3"}


async def test_a_power_cut_in_the_middle_of_a_relapse_ends_it_at_the_start(world):
    device = world.device
    entry = Entry(release="activity-2", stage=Stage.ROLLED_BACK, slot="B", trials=3)
    device.parts.journal.write("activity", entry)  # the pointer still names B
    device.restart()
    await device.reconciler.resume()
    assert device.serving.serving == {"activity": "activity-1"}
    assert (device.models / "activity" / "active").read_text() == "A"


async def test_without_a_good_slot_it_is_safe_mode_which_reports_and_recovers(world):
    device = world.device
    damage(device.models / "activity" / "A" / "cpu.onnx")
    device.serving.sick["activity-2"] = "hangs"
    for _ in range(3):
        await device.reconciler.reconcile_once()
    assert (device.serving.serving, device.reconciler.active) == ({}, {"activity": ""})
    assert device.stages("activity-2")[-2:] == ["rolled-back", "failed"]
    assert "altered" in device.reasons("activity-2")[-1]
    device.restart()
    await device.reconciler.resume()
    assert device.serving.serving == {}
    world.release(3, THREE)
    await world.desire(activity="activity-3")
    await device.reconciler.reconcile_once()
    assert device.serving.serving == {"activity": "activity-3"}


async def test_a_challenger_is_no_refuge_and_ends_with_its_champion(world):
    device = world.device
    world.release(3, THREE)
    await world.challenge(Challenge(release="activity-3"), activity="activity-2")
    await device.reconciler.reconcile_once()
    assert device.serving.challengers == {"activity": "activity-3"}
    device.serving.sick["activity-2"] = "hangs"
    await device.reconciler.reconcile_once()
    assert device.serving.serving == {}
    assert "activity-3" not in device.serving.history
    assert "withdrawn" in device.stages("activity-3")


async def test_what_was_staged_and_never_served_is_no_refuge_whatever_the_journal_is_about(world):
    device = world.device
    world.release(3, THREE)
    await world.challenge(Challenge(release="activity-3"), activity="activity-2")
    await device.reconciler.reconcile_once()
    await world.desire(activity="activity-2")
    await device.reconciler.reconcile_once()
    (device.directory / "journal.json").unlink()
    damage(device.models / "activity" / "B" / "cpu.onnx")
    device.restart()
    await device.reconciler.resume()
    assert device.serving.serving == {}
    assert "never served" in device.said[-1].reason


async def test_a_relapse_does_not_wait_for_a_download(world, until):
    device = world.device
    world.broker.on_the_way = lambda _receiver, delivery: [] if "/blob/" in delivery.topic else [delivery]
    world.release(3, THREE)
    await world.desire(activity="activity-3")
    loop = asyncio.create_task(device.reconciler.run(device.files, check_s=0.05))
    await until(lambda: entry(world).release == "activity-3" and entry(world).stage is Stage.DOWNLOADING)
    device.serving.sick["activity-2"] = "hangs"
    await until(lambda: device.serving.serving == {"activity": "activity-1"})
    world.broker.on_the_way = lambda _receiver, delivery: [delivery]
    await until(lambda: device.serving.serving == {"activity": "activity-3"})
    loop.cancel()
    await asyncio.gather(loop, return_exceptions=True)


async def test_a_disk_that_takes_no_note_does_not_keep_a_bad_release_in_service(world):
    device = world.device
    journal = device.directory / "journal.json"
    journal.unlink()
    (journal / "occupied").mkdir(parents=True)
    device.serving.sick["activity-2"] = "hangs"
    await device.reconciler.reconcile_once()
    assert device.serving.serving == {"activity": "activity-1"}


async def test_a_champion_that_ends_the_agent_at_each_start_gives_way_whatever_the_journal_is_about(world):
    """The breaker of fault 14 must not depend on which release was offered last."""
    device = world.device

    class Stops(BaseException):
        pass

    class StopsAtStart(MemoryServing):
        async def activate(self, model, release, variant, path):
            if release.counter == 2:
                raise Stops
            await super().activate(model, release, variant, path)

    world.release(3, THREE, hardware="sm87")
    await world.desire(activity="activity-3")
    await device.reconciler.reconcile_once()
    assert entry(world).stage is Stage.REFUSED
    for _ in range(MAX_STARTS):
        device.restart(StopsAtStart())
        with pytest.raises(Stops):
            await device.reconciler.resume()
    device.restart(StopsAtStart())
    await device.reconciler.resume()
    assert device.serving.serving == {"activity": "activity-1"}


async def test_rot_is_found_while_it_serves_and_only_the_damage_is_fetched(world):
    device, sent = world.device, world.server.published
    damage(device.models / "activity" / "B" / "cpu.onnx", at=-1)
    scrub = Scrub(device.parts, device.reconciler)
    await scrub.once()
    assert device.serving.serving == {"activity": "activity-2"}  # from memory
    assert (device.said[-1].stage, "altered" in device.said[-1].reason) == (Stage.ACTIVE, True)
    await device.reconciler.reconcile_once()
    assert (device.models / "activity" / "active").read_text() == "A"
    assert world.server.published - sent == 1  # of two chunks
    await scrub.once()
    said = len(device.said)
    await device.reconciler.reconcile_once()
    assert len(device.said) == said


async def test_a_whole_slot_is_nothing_to_speak_of(world):
    said = len(world.device.said)
    await Scrub(world.device.parts, world.device.reconciler).once()
    assert len(world.device.said) == said


@pytest.mark.parametrize(
    ("what", "reason"),
    [("crash", "SIGSEGV"), ("hang", "no answer within 0.3 s"), (f"allocate:{10 << 30}", "needs more than 256 MiB")],
)
async def test_a_real_process_that_fails_after_its_commit_is_rolled_back(update_world, running, what, reason):
    device, x = update_world.device, np.zeros((1, 6, 100), np.float32)
    host = ModelHost(IsolatedSession.loader(isolation(answer_s=0.3), clock=SystemClock(), random=Random(1)))
    device.restart(host)
    async with running(*update_world.parts):
        for counter, data in enumerate((b"nothing", f"after 4:{what}".encode()), start=1):
            update_world.release(counter, data)
            await update_world.desire(activity=f"activity-{counter}")
            await device.reconciler.reconcile_once()
        assert device.stages("activity-2")[-1] == "active"
        while not host.ailing("activity"):
            with host.lease("activity") as served:
                assert served.release.id == "activity-2"
                try:
                    await asyncio.to_thread(served.session.run, x)
                except FaultError:
                    await asyncio.sleep(0.05)
        await device.reconciler.reconcile_once()
    assert device.stages("activity-2")[-1] == "rolled-back"
    assert f"{ALARM} times in a row" in device.reasons("activity-2")[-1]
    assert reason in device.reasons("activity-2")[-1]
    with host.lease("activity") as served:
        assert served.release.id == "activity-1"
        assert served.session.run(x)[0].shape == (1, 2)
    await host.close()
