"""Rows 11 to 14: releases that crash, hang or eat memory in processes of their own, and agents that never come up."""

import asyncio
from random import Random

import numpy as np
import pytest

from edge.inference.host import ModelHost
from edge.inference.isolated import IsolatedSession
from edge.update.plan import MAX_TRIALS
from edge.update.resume import MAX_STARTS
from shared.clock import SystemClock
from shared.messages import Stage
from tests.fault.damage import after_kills
from tests.hostile_model import isolation

pytestmark = pytest.mark.slow

X = np.zeros((1, 6, 100), np.float32)
AGAIN = "nothing new after a restart"
OLD, NOW = {"activity": "activity-1"}, {"activity": "activity-2"}


class Answers:
    """Asks the model that serves, all the time, as a pipeline does."""

    def __init__(self, host):
        self.host = host
        self.by = []

    async def run(self):
        while True:
            with self.host.lease("activity") as served:
                if served is not None:
                    (answer,) = await asyncio.to_thread(served.session.run, X)
                    assert answer.shape == (1, 2)
                    self.by.append(served.release.id)
            await asyncio.sleep(0.005)


async def rolled_back_for_good(world, running, model, reason, *, answer_s=60.0):
    """The release is tried as often as may be, each time by a new process of the agent, while the old one answers."""
    device = world.device
    host = ModelHost(IsolatedSession.loader(isolation(answer_s=answer_s), clock=SystemClock(), random=Random(1)))
    device.restart(host)
    answers = Answers(host)
    async with running(*world.parts, answers):
        world.release(1, b"nothing")
        await world.desire(activity="activity-1")
        await device.reconciler.reconcile_once()
        world.release(2, model.encode())
        await world.desire(activity="activity-2")
        for _ in range(MAX_TRIALS + 2):
            device.restart(host)
            await device.reconciler.resume()
            await device.reconciler.reconcile_once()
        asked = len(answers.by)
        await world.until(lambda: len(answers.by) > asked + 3)
    entry = device.parts.journal.entry("activity")
    assert (entry.stage, entry.trials) == (Stage.ROLLED_BACK, MAX_TRIALS)
    assert device.stages("activity-2").count("rolled-back") == MAX_TRIALS
    assert all(reason in each for each in device.reasons("activity-2"))
    assert set(answers.by) == {"activity-1"}
    await host.withdraw("activity")


async def test_a_sound_release_is_taken(update_world, running):
    device = update_world.device
    host = ModelHost(IsolatedSession.loader(isolation(), clock=SystemClock(), random=Random(1)))
    device.restart(host)
    async with running(*update_world.parts):
        for counter, data in enumerate((b"nothing", b"nothing:more"), start=1):
            update_world.release(counter, data)
            await update_world.desire(activity=f"activity-{counter}")
            await device.reconciler.reconcile_once()
    assert device.stages("activity-2")[-1] == "active"
    await host.withdraw("activity")


@pytest.mark.parametrize(
    ("model", "reason"),
    [("crash", "SIGSEGV"), ("abort", "SIGABRT"), ("exit", "status 0"), ("while loading:abort", "SIGABRT")],
)
async def test_row_11_a_new_model_that_crashes(update_world, running, model, reason):
    await rolled_back_for_good(update_world, running, model, reason)


@pytest.mark.parametrize("model", ["hang", "spin"])
async def test_row_12_a_new_model_that_hangs(update_world, running, model):
    await rolled_back_for_good(update_world, running, model, "no answer within 1.5 s and was killed", answer_s=1.5)


async def test_row_13_a_new_model_over_its_memory(update_world, running):
    await rolled_back_for_good(update_world, running, f"allocate:{10 << 30}", "needs more than 256 MiB and was killed")


@pytest.mark.parametrize("point", ["start.loading", "start.served"])
def test_row_14_a_reboot_loop_ends_in_the_other_slot(crew, cases, point):
    told = crew.each(after_kills, [AGAIN] * 7, [(point,) * times for times in range(7)])
    assert [each.start for each in told[:MAX_STARTS]] == [NOW] * MAX_STARTS
    assert told[MAX_STARTS].start == OLD
    assert "ended the agent 3 times" in told[MAX_STARTS].reasons("activity-2", "rolled-back")
    assert all(each.start for each in told)
    cases(len(told))
