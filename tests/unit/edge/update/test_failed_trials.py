"""Faults 11 to 13 of a device: a release that crashes, hangs or eats memory is rolled back, and the old one serves."""

from random import Random

import numpy as np
import pytest

from edge.inference.host import ModelHost
from edge.inference.isolated import IsolatedSession
from shared.clock import SystemClock
from tests.hostile_model import isolation

X = np.zeros((1, 6, 100), np.float32)


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("crash", "SIGSEGV"),
        ("hang", "no answer within 0.5 s"),
        (f"allocate:{10 << 30}", "needs more than 256 MiB"),
        ("while loading:abort", "SIGABRT"),
        ("garble", "no known form"),
    ],
)
async def test_a_release_that_fails_its_trial_is_rolled_back(update_world, running, what, reason):
    world, device = update_world, update_world.device
    host = ModelHost(IsolatedSession.loader(isolation(answer_s=0.5), clock=SystemClock(), random=Random(1)))
    device.restart(host)
    async with running(*world.parts):
        for counter, data in enumerate((b"nothing", what.encode()), start=1):
            world.release(counter, data)
            await world.desire(activity=f"activity-{counter}")
            await device.reconciler.reconcile_once()
    assert device.stages("activity-1")[-1] == "active"
    assert device.stages("activity-2")[-1] == "rolled-back"
    assert any(reason in each for each in device.reasons("activity-2"))
    with host.lease("activity") as served:
        assert served.release.id == "activity-1"
        assert served.session.run(X)[0].shape == (1, 2)
    await host.withdraw("activity")


async def test_a_committed_release_that_fails_after_a_start_leaves_the_other_slot_serving(
    update_world, running, tmp_path
):
    """A model may be fine in its trial and not on the next start: the start tries the other slot by itself."""
    world, device = update_world, update_world.device
    async with running(*world.parts):
        for counter, data in enumerate((b"nothing", b"crash"), start=1):
            world.release(counter, data)
            await world.desire(activity=f"activity-{counter}")
            await device.reconciler.reconcile_once()  # the twin takes any bytes
        host = ModelHost(IsolatedSession.loader(isolation(), clock=SystemClock(), random=Random(1)))
        device.restart(host)
        await device.reconciler.resume()
    assert device.reconciler.active["activity"] == "activity-1"
    await host.withdraw("activity")
