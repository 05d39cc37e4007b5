"""A challenger is never more than that, whatever moment its step begins at."""

import asyncio
from random import Random

from shared.bundle import Challenge


async def test_a_look_that_begins_before_a_step_takes_no_terms_from_it(update_world, running):
    device = update_world.device
    async with running(*update_world.parts):
        for counter in (1, 2):
            update_world.release(counter, Random(counter).randbytes(300_000))
        await update_world.desire(activity="activity-1")
        await device.reconciler.reconcile_once()
        await update_world.challenge(Challenge(release="activity-2"), activity="activity-1")
        await device.reconciler.look()
        step = asyncio.create_task(device.reconciler.pursue())
        await asyncio.gather(asyncio.create_task(device.reconciler.look()), step)  # the look runs first
        assert device.stages("activity-2")[-1] == "shadow"
        assert device.serving.serving == {"activity": "activity-1"}
