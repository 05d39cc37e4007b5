from dataclasses import replace
from random import Random

import msgspec
import pytest

from edge.facts import MemoryFacts, Power
from edge.update.obstacles import Policy
from edge.update.preflight import HeldError, Preflight
from shared.bundle import Needs, Runtime
from shared.clock import VirtualClock
from shared.errors import TrustError

DATA = Random(5).randbytes(600_000)
POLICY = Policy(hardware=frozenset({"cpu"}), runtimes=frozenset({Runtime.ONNXRUNTIME}))


def preflight(device, facts, policy=POLICY):
    """Put a preflight before the device's updates, as after a restart."""
    device.preflight = Preflight(facts, policy, models=device.models, clock=VirtualClock())
    device.restart()


async def test_a_held_release_stays_offered_without_a_byte_and_goes_on_when_there_is_room(update_world, running):
    device, facts = update_world.device, MemoryFacts(disk=1000)
    preflight(device, facts)
    async with running(*update_world.parts):
        update_world.release(1, DATA)
        await update_world.desire(activity="activity-1")
        await device.reconciler.reconcile_once()
        assert set(device.stages("activity-1")) == {"offered"}
        assert device.said[-1].reason == "held: cpu.onnx needs 2 MiB of disk, 0 MiB are free"
        assert update_world.server.published == 0
        facts.disk = 1 << 30
        device.reconciler._ended.clear()  # as if the pause were over
        await device.reconciler.reconcile_once()
    assert device.serving.serving == {"activity": "activity-1"}
    assert device.said[-1].reason == ""


async def test_a_held_release_is_not_looked_at_all_the_time_and_counts_as_no_failure(update_world, running):
    device = update_world.device
    preflight(device, MemoryFacts(supply=Power(on_battery=True, charge=3.0)))
    async with running(*update_world.parts):
        update_world.release(1, DATA)
        await update_world.desire(activity="activity-1")
        for _ in range(5):
            await device.reconciler.reconcile_once()
    assert len(device.reasons("activity-1")) == 1
    entry = device.parts.journal.entry("activity")
    assert entry is not None
    assert (entry.failures, entry.trials, entry.distrusted) == (0, 0, False)


async def test_what_never_fits_is_refused_with_its_reason(update_world, running):
    device = update_world.device
    preflight(device, MemoryFacts(), replace(POLICY, hardware=frozenset({"sm87"})))
    async with running(*update_world.parts):
        update_world.release(1, DATA)
        await update_world.desire(activity="activity-1")
        for _ in range(2):
            await device.reconciler.reconcile_once()
    assert device.stages("activity-1") == ["offered", "refused"]
    assert "which this device is not" in device.said[-1].reason
    assert update_world.server.published == 0


async def test_what_an_attempt_left_on_disk_is_not_asked_for_again(update_world):
    device = update_world.device
    variant = update_world.release(1, DATA).variants[0]
    facts = MemoryFacts(disk=2 * len(DATA) - 300_000)
    before = Preflight(facts, POLICY, models=device.models, clock=VirtualClock())
    with pytest.raises(HeldError, match="disk"):
        await before.check(variant)
    incoming = device.models / "activity" / "incoming"
    incoming.mkdir(parents=True)
    (incoming / f"{variant.digest}.part").write_bytes(DATA[:400_000])
    await before.check(variant)


async def test_holes_in_a_partial_file_are_nothing_that_is_there(update_world):
    device = update_world.device
    variant = update_world.release(1, DATA).variants[0]
    incoming = device.models / "activity" / "incoming"
    incoming.mkdir(parents=True)
    with (incoming / f"{variant.digest}.part").open("wb") as file:
        file.truncate(len(DATA))
    before = Preflight(MemoryFacts(disk=len(DATA)), POLICY, models=device.models, clock=VirtualClock())
    with pytest.raises(HeldError, match="disk"):
        await before.check(variant)


async def test_a_version_is_asked_for_only_where_it_matters(update_world):
    class Counting(MemoryFacts):
        asked = 0

        def version(self, runtime):
            Counting.asked += 1
            return "1.20"

    variant = update_world.release(1, DATA).variants[0]
    before = Preflight(Counting(), POLICY, models=update_world.device.models, clock=VirtualClock())
    await before.check(variant)
    assert Counting.asked == 0
    needy = msgspec.structs.replace(variant, needs=Needs(runtime_version="1.22"))
    with pytest.raises(TrustError, match=r"1\.22"):
        await before.check(needy)
    assert Counting.asked == 1
