"""A challenger's way on a device: beside what serves, then in its place, or gone."""

import asyncio
from random import Random

import msgspec
import pytest

from edge.update.attempt import ALONE
from edge.update.plan import MAX_TRIALS, SILENCE_S
from edge.update.resume import MAX_STARTS
from edge.update.shadowing import STEADY_S
from shared import topics
from shared.bundle import Challenge
from shared.bus import Delivery
from shared.errors import FaultError, TrustError
from shared.messages import Stage
from tests.update_world import TENANT

ONE, TWO, THREE = (Random(seed).randbytes(300_000) for seed in (1, 2, 3))
BESIDE = ["offered", "downloading", "verified", "staged", "shadow"]
TERMS = Challenge(release="activity-2", rollout="r1", share=0.5)


class Turned:
    """The machine's clock, ahead by what a test says."""

    def __init__(self, clock):
        self.clock, self.ahead = clock, 0.0

    def now(self):
        return self.clock.now() + self.ahead

    def monotonic(self):
        return self.clock.monotonic() + self.ahead


@pytest.fixture
async def world(update_world, running):
    """Release 1 serves, and release 2 runs in its shadow."""
    update_world.device.clock = Turned(update_world.device.clock)
    update_world.device.restart()
    async with running(*update_world.parts):
        update_world.release(1, ONE)
        update_world.release(2, TWO)
        await update_world.desire(activity="activity-1")
        await update_world.device.reconciler.reconcile_once()
        await update_world.challenge(TERMS, activity="activity-1")
        await update_world.device.reconciler.reconcile_once()
        yield update_world


def entry(world):
    return world.device.parts.journal.entry("activity")


async def start_again(world):
    world.device.restart()
    await world.device.reconciler.resume()
    await world.device.reconciler.pursue()


async def test_a_challenger_is_staged_and_runs_beside_what_serves(world):
    device = world.device
    assert device.stages("activity-2") == BESIDE
    assert device.serving.serving == {"activity": "activity-1"}
    assert (device.serving.challengers, device.serving.terms) == ({"activity": "activity-2"}, {"activity": TERMS})
    assert (device.models / "activity" / "active").read_text() == "A"
    for _ in range(3):
        await device.reconciler.reconcile_once()
    assert device.stages("activity-2") == BESIDE


async def test_a_promoted_challenger_serves_without_another_download(world):
    device, sent = world.device, world.server.published
    await world.desire(activity="activity-2")
    await device.reconciler.reconcile_once()
    assert device.stages("activity-2") == [*BESIDE, "trial", "active"]
    assert (device.serving.serving, device.serving.challengers) == ({"activity": "activity-2"}, {})
    assert world.server.published == sent
    assert (device.models / "activity" / "active").read_text() == "B"
    assert (entry(world).challenge, entry(world).trials) == (None, 0)


async def test_what_is_no_longer_desired_beside_is_withdrawn_and_costs_no_trial(world):
    device = world.device
    await world.desire(activity="activity-1")
    await device.reconciler.reconcile_once()
    assert device.stages("activity-2")[-1] == "withdrawn"
    assert (device.serving.serving, device.serving.challengers) == ({"activity": "activity-1"}, {})
    assert entry(world).trials == 0


async def test_a_withdrawn_challenger_comes_back_without_a_download(world):
    device, sent = world.device, world.server.published
    await world.desire(activity="activity-1")
    await device.reconciler.reconcile_once()
    await world.challenge(TERMS, activity="activity-1")
    await device.reconciler.reconcile_once()
    assert device.serving.challengers == {"activity": "activity-2"}
    assert world.server.published == sent


async def test_other_terms_are_taken_over_and_written_down(world):
    device = world.device
    more = msgspec.structs.replace(TERMS, share=0.75, split=0.5)
    await world.challenge(more, activity="activity-1")
    await device.reconciler.reconcile_once()
    assert device.serving.terms == {"activity": more}
    assert entry(world).challenge == more
    assert device.stages("activity-2") == BESIDE


async def test_another_challenger_takes_the_place_of_the_first(world):
    world.release(3, THREE)
    await world.challenge(Challenge(release="activity-3"), activity="activity-1")
    for _ in range(2):
        await world.device.reconciler.reconcile_once()
    assert world.device.stages("activity-2")[-1] == "withdrawn"
    assert world.device.serving.challengers == {"activity": "activity-3"}


async def test_another_release_that_is_to_serve_ends_the_shadow_which_then_begins_anew(world):
    device = world.device
    world.release(3, THREE)
    await world.challenge(TERMS, activity="activity-3")
    for _ in range(2):
        await device.reconciler.reconcile_once()
    assert device.serving.serving == {"activity": "activity-3"}
    await device.reconciler.reconcile_once()
    assert device.stages("activity-2")[-1] == "refused"  # older by now than what ran here
    assert device.serving.challengers == {}


async def test_a_challenger_that_fails_is_rolled_back_and_left_alone_in_the_end(world):
    device = world.device
    device.serving.sick["activity-2"] = "its process ended 3 times in a row: SIGSEGV"
    for _ in range(4 * MAX_TRIALS):
        device.clock.ahead += 1000
        await device.reconciler.reconcile_once()
    assert device.stages("activity-2").count("rolled-back") == MAX_TRIALS
    assert "SIGSEGV" in device.reasons("activity-2")[-1]
    assert (device.serving.serving, device.serving.history) == ({"activity": "activity-1"}, ["activity-1"])
    assert device.serving.challengers == {}


@pytest.mark.parametrize(
    "error", [FaultError("does not load"), TrustError("custom operator"), ZeroDivisionError("deep")]
)
async def test_a_challenger_that_does_not_load_is_rolled_back(update_world, running, error):
    device = update_world.device
    async with running(*update_world.parts):
        update_world.release(1, ONE)
        update_world.release(2, TWO)
        await update_world.desire(activity="activity-1")
        await device.reconciler.reconcile_once()
        device.serving.broken["activity-2"] = error
        await update_world.challenge(TERMS, activity="activity-1")
        await device.reconciler.reconcile_once()
    assert device.stages("activity-2") == [*BESIDE, "rolled-back"]
    assert device.serving.serving == {"activity": "activity-1"}


async def test_a_challenger_on_an_empty_device_waits_for_its_promotion(update_world, running):
    device = update_world.device
    async with running(*update_world.parts):
        update_world.release(2, TWO)
        await update_world.challenge(TERMS)
        for _ in range(2):
            await device.reconciler.reconcile_once()
        assert device.stages("activity-2") == BESIDE
        assert device.said[-1].reason == ALONE
        assert (device.serving.serving, device.serving.challengers) == ({}, {})
        await update_world.desire(activity="activity-2")
        await device.reconciler.reconcile_once()
    assert device.serving.serving == {"activity": "activity-2"}


async def test_a_restart_goes_on_with_the_shadow_without_a_link(world):
    device, sent = world.device, world.server.published
    await start_again(world)
    assert device.serving.serving == {"activity": "activity-1"}
    assert (device.serving.challengers, device.serving.terms) == ({"activity": "activity-2"}, {"activity": TERMS})
    assert device.stages("activity-2")[-1] == "shadow"
    assert world.server.published == sent
    await device.reconciler.reconcile_once()
    assert device.stages("activity-2")[-1] == "shadow"


async def test_a_promotion_that_came_while_the_agent_was_off(world):
    await world.desire(activity="activity-2")
    await start_again(world)
    await world.device.reconciler.reconcile_once()
    assert world.device.serving.serving == {"activity": "activity-2"}


async def test_an_agent_that_ends_again_and_again_beside_a_challenger_gives_it_up(world):
    for _ in range(MAX_STARTS):
        await start_again(world)
        assert world.device.serving.challengers == {"activity": "activity-2"}
    await start_again(world)
    assert world.device.serving.challengers == {}
    assert world.device.stages("activity-2")[-1] == "rolled-back"
    assert "started 3 times" in world.device.reasons("activity-2")[-1]
    assert world.device.serving.serving == {"activity": "activity-1"}


async def test_starts_are_forgiven_after_a_minute_and_after_a_stop_on_purpose(world):
    device = world.device
    await start_again(world)
    assert entry(world).starts == 1
    device.clock.ahead += STEADY_S + 1
    await device.reconciler.pursue()
    assert entry(world).starts == 0
    await start_again(world)
    running = asyncio.create_task(device.reconciler.run(device.files, check_s=60))
    await asyncio.sleep(0.05)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert entry(world).starts == 0


async def test_a_damaged_idle_slot_ends_the_shadow_at_the_next_start(world):
    path = world.device.models / "activity" / "B" / "cpu.onnx"
    data = bytearray(path.read_bytes())
    data[1000] ^= 1
    path.write_bytes(data)
    await start_again(world)
    assert world.device.stages("activity-2")[-1] == "rolled-back"
    assert "altered" in world.device.reasons("activity-2")[-1]
    assert world.device.serving.serving == {"activity": "activity-1"}


async def test_altered_bytes_are_not_promoted(world):
    device = world.device
    path = device.models / "activity" / "B" / "cpu.onnx"
    path.write_bytes(bytes(path.stat().st_size))
    await world.desire(activity="activity-2")
    await device.reconciler.reconcile_once()
    assert device.stages("activity-2")[-2:] == ["trial", "rolled-back"]
    assert device.serving.serving == {"activity": "activity-1"}
    assert (device.models / "activity" / "active").read_text() == "A"


async def test_signers_that_are_silent_for_days_end_the_shadow(world):
    device = world.device
    device.clock.ahead += 2 * 86_400  # the timestamp has expired
    await device.reconciler.reconcile_once()
    assert device.stages("activity-2")[-1] == "shadow"
    device.clock.ahead += SILENCE_S
    await device.reconciler.reconcile_once()
    assert device.stages("activity-2")[-1] == "withdrawn"
    assert "nothing proven from the signers for 5" in device.reasons("activity-2")[-1]
    assert device.serving.serving == {"activity": "activity-1"}


async def test_a_challenger_that_is_still_fetched_is_withdrawn_at_once(world, until):
    device = world.device
    world.broker.on_the_way = lambda _receiver, delivery: [] if "/blob/" in delivery.topic else [delivery]
    world.release(3, THREE)
    await world.challenge(Challenge(release="activity-3"), activity="activity-1")
    loop = asyncio.create_task(device.reconciler.run(device.files, check_s=0.05))
    await until(lambda: entry(world).release == "activity-3" and entry(world).stage is Stage.DOWNLOADING)
    await world.desire(activity="activity-1")
    await until(lambda: entry(world).stage is Stage.WITHDRAWN)
    assert device.stages("activity-3") == ["offered", "downloading", "withdrawn"]
    loop.cancel()
    await asyncio.gather(loop, return_exceptions=True)


async def test_what_is_to_serve_and_then_only_to_run_beside_does_not_come_to_serve(world, until):
    device = world.device
    world.broker.on_the_way = lambda _receiver, delivery: [] if "/blob/" in delivery.topic else [delivery]
    world.release(3, THREE)
    await world.desire(activity="activity-3")
    loop = asyncio.create_task(device.reconciler.run(device.files, check_s=0.05))
    await until(lambda: entry(world).release == "activity-3" and entry(world).stage is Stage.DOWNLOADING)
    await world.challenge(Challenge(release="activity-3"), activity="activity-1")
    await until(lambda: "withdrawn" in device.stages("activity-3"))
    world.broker.on_the_way = lambda _receiver, delivery: [delivery]
    await until(lambda: device.serving.challengers == {"activity": "activity-3"})
    assert device.serving.serving == {"activity": "activity-1"}
    loop.cancel()
    await asyncio.gather(loop, return_exceptions=True)


async def test_an_altered_manifest_keeps_a_promotion_waiting_and_the_comparison_going(world, until):
    device, broker = world.device, world.broker
    (name,) = [name for name in device.files._files if "activity-2" in name and name.endswith(".manifest.json")]
    topic, good = f"{topics.tuf_all(TENANT)[:-1]}{name}", device.files.read(name)
    straight = broker.on_the_way
    broker.on_the_way = lambda _receiver, each: [Delivery(topic, good[:-1]) if each.topic == topic else each]
    await world.coordinator.publish(topic, good, retain=True)
    await until(lambda: device.files.read(name) == good[:-1])
    await world.desire(activity="activity-2")
    for _ in range(2):
        await device.reconciler.reconcile_once()
        assert device.serving.serving == {"activity": "activity-1"}
        assert (entry(world).stage, device.serving.challenger("activity")) == (Stage.SHADOW, "activity-2")
    broker.on_the_way = straight
    await world.coordinator.publish(topic, good, retain=True)
    await until(lambda: device.files.read(name) == good)
    await device.reconciler.reconcile_once()
    assert device.serving.serving == {"activity": "activity-2"}
    assert "failed" not in device.stages("activity-2")
