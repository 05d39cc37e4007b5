"""The whole agent in one process: real files, real ONNX sessions, a broker in memory."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager, suppress
from random import Random

import numpy as np
import pytest

import edge.agent
from cloud.ingest.inbox import MemoryInbox
from cloud.ingest.ingest import Ingest
from cloud.release.modelsig import MODEL_SIGNING, sign_models
from edge import settings as conf
from edge.identity import Identity
from edge.wiring import build
from shared.bundle import FleetDesired, Release, Runtime, Schema, Variant, split
from shared.clock import SystemClock
from shared.codec import unpack
from shared.errors import RefusedError
from shared.messages import DriftReport, Telemetry
from shared.topics import Up
from tests.models import LABELS, SHAPE, classifier
from tests.update_world import DEVICE, FLEET, TENANT, UpdateWorld


@pytest.fixture
def world(tmp_path, until):
    return UpdateWorld(tmp_path / "cloud", until)


@pytest.fixture
def config(tmp_path):
    """A device with one sensor that sees 400 windows, the first half low and the second half high."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(400, *SHAPE)).astype(np.float32) * 0.1 + np.repeat([-1, 1], 200)[:, None, None]
    np.savez(tmp_path / "stream.npz", x=x.astype(np.float32), phase=np.repeat(["before", "after"], 200))
    data = tmp_path / "data" / "toy"
    data.mkdir(parents=True)
    for name in ("train", "holdout"):
        np.savez(data / f"{name}.npz", x=x[:50], y=np.ones(50, np.int64))
    text = f"""
    [agent]
    state = "{tmp_path / "state"}"
    [reporting]
    telemetry_s = 0.1
    drift_inputs = 50
    drift_rate = 100000.0
    [training]
    enabled = true
    data = "{tmp_path / "data"}"
    [[pipelines]]
    name = "wrist"
    model = "toy"
    remember = true
    source = {{ kind = "replay", path = "{tmp_path / "stream.npz"}", rate = 2000.0 }}
    """
    path = tmp_path / "agent.toml"
    path.write_text(text)
    return path


def make_identity(tmp_path, world):
    return Identity(
        directory=tmp_path / "identity",
        device=DEVICE,
        fleet=FLEET,
        tenant=TENANT,
        url="https://localhost:1",
        broker_host="localhost",
        broker_port=1,
        superlink="",  # so that no trainer is started
        server_name="",
        root=world.repository.root_bytes,
    )


def ship(world, counter, data):
    """Sign a release of a real model, and want it."""
    variant = Variant(
        name="cpu.onnx",
        runtime=Runtime.ONNXRUNTIME,
        precision="fp32",
        hardware=["cpu"],
        digest=world.blobs.put(data),
        size=len(data),
        chunks=split(data),
    )
    schema = Schema(kind="classification", labels=LABELS, input_shape=SHAPE)
    release = Release(id=f"toy-{counter}", model="toy", counter=counter, schema=schema, variants=[variant], created=1.0)
    world.repository.publish_release(sign_models(release, world.keys.signer(MODEL_SIGNING)))
    world.repository.set_desired(FleetDesired(fleet=FLEET, default={"toy": release.id}))


@asynccontextmanager
async def agent_running(agent):
    stop = asyncio.Event()
    task = asyncio.create_task(agent.run(stop))
    try:
        yield
    finally:
        stop.set()
        await task


def bodies(inbox, channel):
    """What the coordinator holds of one channel, in order."""
    streams = [records for stream, records in inbox.records.items() if stream.channel == channel]
    return [records[seq].body for records in streams for seq in sorted(records)]


def make_agent(tmp_path, world, config, bus):
    return build(conf.read(config), make_identity(tmp_path, world), config=config, bus=bus, random=Random(1))


async def test_from_release_to_acknowledged_telemetry(tmp_path, world, config, running, until):
    inbox = MemoryInbox()
    ingest = Ingest(world.coordinator, inbox, clock=SystemClock())
    agent = make_agent(tmp_path, world, config, world.broker.bus(DEVICE))
    ship(world, 1, classifier())
    async with running(world.coordinator, world.server, ingest):
        await world.publisher.publish(
            world.repository.files(), fleets=[FLEET], timestamp=world.repository.timestamp_version
        )
        async with agent_running(agent):
            await until(lambda: agent.pipelines[0].state == "ended")
            labels = [{"task": "toy", "id": f"wrist:{i}", "y": 1, "train": i < 10} for i in range(200)]
            (tmp_path / "state" / "labels").mkdir(parents=True, exist_ok=True)
            text = "".join(json.dumps(label) + "\n" for label in labels)
            (tmp_path / "state" / "labels" / "0.jsonl").write_text(text)
            await until(lambda: agent.store.labels_held("toy") == 10)
    said = [unpack(body, Telemetry) for body in bodies(inbox, Up.TELEMETRY)]
    assert sum(each.processed for each in said) == 400
    assert {each.phase for each in said} == {"before", "after"}
    reports = [unpack(body, DriftReport) for body in bodies(inbox, Up.DRIFT)]
    assert sum(report.reference for report in reports) == 1
    assert sum(report.count for report in reports if not report.reference) == 400
    assert all(agent.outbox.ledger(channel).pending == 0 for channel in (Up.TELEMETRY, Up.DRIFT, Up.UPDATE))


async def test_a_device_without_a_link_serves_what_it_committed(tmp_path, world, config, running, until):
    ship(world, 1, classifier())
    first = make_agent(tmp_path, world, config, world.broker.bus(DEVICE))
    async with running(world.coordinator, world.server, Ingest(world.coordinator, MemoryInbox(), clock=SystemClock())):
        await world.publisher.publish(
            world.repository.files(), fleets=[FLEET], timestamp=world.repository.timestamp_version
        )
        async with agent_running(first):
            await until(lambda: first.updates.active.get("toy") == "toy-1")
    world.broker.stop()
    again = make_agent(tmp_path, world, config, world.broker.bus(DEVICE))
    async with agent_running(again):
        await until(lambda: again.pipelines[0].state == "ended")
        assert again.updates.active == {"toy": "toy-1"}
        assert again.pipelines[0].health["toy-1"].processed == 400


def test_settings_say_what_is_wrong_and_where(tmp_path):
    path = tmp_path / "agent.toml"
    path.write_text('[agent]\nstate = "/tmp/x"\n[[pipelines]]\nname = "a"\nmodel = "b"\nsource = { kind = "tape" }\n')
    with pytest.raises(RefusedError, match=r"pipelines\[0\].*tape") as refused:
        conf.read(path)
    assert "docs/devices.md" in refused.value.hint
    with pytest.raises(RefusedError, match="no settings file"):
        conf.read(tmp_path / "missing.toml")


def test_settings_refuse_what_nobody_reads(tmp_path):
    path = tmp_path / "agent.toml"
    path.write_text('[agent]\nstate = "/tmp/x"\ncolour = "blue"\n')
    with pytest.raises(RefusedError, match="colour"):
        conf.read(path)


async def test_a_task_that_does_not_end_is_named_and_left_behind(monkeypatch, caplog):
    monkeypatch.setattr(edge.agent, "END_S", 0.05)
    release = asyncio.Event()

    async def stubborn():
        while not release.is_set():
            with suppress(asyncio.CancelledError):
                await release.wait()

    tasks = [asyncio.create_task(stubborn(), name="pipeline-street"), asyncio.create_task(asyncio.sleep(3600))]
    await asyncio.sleep(0)
    await edge.agent._end(tasks)
    assert "pipeline-street" in caplog.text
    assert tasks[1].cancelled()
    release.set()
    await asyncio.gather(*tasks, return_exceptions=True)
