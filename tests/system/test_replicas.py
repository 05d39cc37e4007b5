"""Two coordinators share the load; one leads, and what an interrupted one began is taken over once."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from cloud.store.database import IDLE_MS
from shared.audit import verify
from tests.system.replicas import LEASE_S, Device, Replicas, kinds, order, until

pytestmark = pytest.mark.system


@pytest.fixture(params=["sqlite", "postgresql"])
def replicas(request, tmp_path):
    store = request.getfixturevalue("postgres").database() if request.param == "postgresql" else ""
    made = Replicas(tmp_path, store=store)
    try:
        made.start()
        yield made
    finally:
        made.stop()


@asynccontextmanager
async def talking(devices, *, through) -> AsyncIterator[None]:
    work = [each for d in devices for each in (d.bus.run(), d.uplink.run(), d.talk(), d.activate(through))]
    tasks = [asyncio.create_task(each) for each in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        for device in devices:
            device.outbox.close()
    assert [error for error in outcomes if isinstance(error, Exception)] == []


async def frozen(replicas, leader) -> None:
    """Freeze it, and have the other one lead.

    Within a transaction it holds the lock of all writers. PostgreSQL takes it away after `IDLE_MS`; on SQLite nobody
    can, so there it is let go on for a moment and frozen again, until it holds none.
    """
    within_s = 20 * LEASE_S + IDLE_MS / 1000
    for _ in range(1 if replicas.server else 5):
        os.kill(leader.pid, signal.SIGSTOP)
        try:
            await until(lambda: replicas.leads("b"), within_s=within_s if replicas.server else 4 * LEASE_S)
        except AssertionError:
            os.kill(leader.pid, signal.SIGCONT)
            await asyncio.sleep(0.05)
        else:
            return
    raise AssertionError("nobody leads")


async def hush(devices) -> None:
    for device in devices:
        device.quiet = True
    await until(lambda: not any(device.pending() for device in devices))


def enrolled(replicas, through="b"):
    return [Device(replicas, f"watch-{number}", through=through) for number in range(3)]


def prove(replicas, devices, client):
    """Nothing was lost, counted twice, or done twice."""
    total = client.telemetry().total
    assert total.sent >= sum(device.said for device in devices)
    assert (total.stored, total.lost, total.duplicated) == (total.sent, 0, 0)
    assert [device.alarm for device in client.devices()] == ["", "", ""]
    (rollout,) = client.rollouts()
    happened = kinds(client)
    assert happened["rollout.wave"] == happened["rollout.soak"] == len(rollout.progress)
    assert (happened["release.published"], happened["rollout.done"]) == (1, 1)
    assert verify(client.audit(), client.witness().anchors) is None
    replicas.prove_repository()


async def test_a_frozen_leader_is_followed_and_what_it_does_after_the_thaw_is_refused(replicas):
    devices = await asyncio.to_thread(enrolled, replicas)
    a, b = replicas.coordinators["a"], replicas.clients["b"]
    async with talking(devices, through=lambda: "b"):
        await asyncio.to_thread(order, b)
        await until(lambda: kinds(b)["rollout.wave"] >= 1)
        try:
            await frozen(replicas, a)
            with suppress(AssertionError):  # frozen while it signs, it holds the repository's lock
                await until(lambda: b.rollouts()[0].state == "done", within_s=8)
        finally:
            os.kill(a.pid, signal.SIGCONT)
        await until(lambda: b.rollouts()[0].state == "done")
        await until(lambda: replicas.leadership("a") == "ok: follows b")
        await hush(devices)
    happened = kinds(b)
    assert happened["leader.taken"] >= 2
    assert happened["leader.stepped-down"] == 1
    assert {row.action for row in b.audit()} >= {"leader.taken", "leader.stepped-down"}
    prove(replicas, devices, b)


async def test_a_killed_leader_in_mid_rollout_is_followed_and_no_wave_is_skipped_or_repeated(replicas):
    devices = await asyncio.to_thread(enrolled, replicas)
    b = replicas.clients["b"]
    async with talking(devices, through=lambda: "b"):
        await asyncio.to_thread(order, b)
        await until(lambda: kinds(b)["release.imported"] + kinds(b)["release.published"] >= 1)
        replicas.coordinators["a"].kill()
        assert await until(lambda: replicas.leads("b")) < 10 * LEASE_S  # less than one on a quiet machine
        await until(lambda: any(rollout.state == "done" for rollout in b.rollouts()))
        replicas.coordinators["a"] = replicas.process("a")
        replicas.coordinators["a"].start()
        await until(lambda: replicas.leadership("a") == "ok: follows b")
        await hush(devices)
    prove(replicas, devices, b)
    prove(replicas, devices, replicas.clients["a"])


@pytest.mark.parametrize("replicas", ["sqlite"], indirect=True)
async def test_a_second_process_of_a_name_and_one_that_knows_of_no_replicas_are_refused(replicas):
    serve = ("hinterland-coordinator", "serve", "--dir", str(replicas.directory))
    twice = replicas.run(*serve, **{"HINTERLAND_CLUSTER_REPLICA": "a"})
    unaware = replicas.run(*serve, **{"HINTERLAND_CLUSTER_REPLICAS": ""})
    nameless = replicas.run(*serve)
    assert [run.returncode for run in (twice, unaware, nameless)] == [1, 1, 1]
    assert "another coordinator works on" in twice.stderr
    assert "was not told which" in nameless.stderr
