"""Rollouts from the command line of operators, against a coordinator's process and devices on a real broker."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from random import Random

import pytest
from typer.testing import CliRunner

from edge.identity import enrol
from fleet.main import app
from shared import topics
from shared.bundle import Schema
from shared.bus.mqtt import MqttBus
from shared.codec import pack, unpack
from shared.errors import TransportError
from shared.messages import Ack, Batch, Record, Stage, UpdateStatus
from shared.topics import Down, Up
from tests.models import detector
from tests.system.test_coordinator_process import BIN, PATIENCE_S, World, endpoint

pytestmark = pytest.mark.system

NAMES = ("watch-1", "watch-2", "watch-3")
SCHEMA = {"kind": "detection", "labels": ["person"], "input_shape": [3, 300, 300]}

FILE = """
kind: model
name: street
schema: {kind: detection, labels: [person], input_shape: [3, 300, 300]}
---
kind: device
name: watch-3
labels: {site: kiel, shift: no}
---
kind: distribution
name: wards
rate_mib_s: 2
"""

ROLLOUT = """
kind: rollout
release: RELEASE
fleet: wards
waves: [{count: 1}, {percent: 100}]
soak_s: 0
windows: [{start: 00:00, end: 24:00}]
"""


class Ward:
    """Three devices, the commands of their operators, and what the devices say."""

    def __init__(self, world, place):
        self.world, self.place = world, place
        self.identities, self.said, self.watches = {}, dict.fromkeys(NAMES, 0), []

    def cli(self, *arguments, code=0, key=""):
        """Run a command here, which is faster than a process for each."""
        who = ["--key", key] if key else []
        done = CliRunner().invoke(app, ["--profile", str(self.world.profile), *who, *arguments])
        assert done.exit_code == code, (arguments, done.output, done.exception)
        return done.output

    def json(self, *arguments):
        return json.loads(self.cli(*arguments, "--json"))

    def enrol(self, name, **labels):
        said = [f"--label={key}={value}" for key, value in labels.items()]
        token = self.cli("token", "create", "--device", name, "--fleet", "wards", *said).split()[-1]
        self.identities[name] = enrol(self.place / name, token=token, hardware=["cpu"], runtimes=["onnxruntime"])

    def file(self, text, name="fleet.yaml"):
        path = self.place / name
        path.write_text(text)
        return str(path)

    def reports(self, name, release, stage, reason=""):
        """Let a device say it until the coordinator has heard it."""
        status = UpdateStatus(model="street", release=release, stage=stage, reason=reason)
        self.said[name] += 1
        asyncio.run(self._say(name, self.said[name], status))

    async def _say(self, name, seq, status):
        bus = MqttBus(endpoint(self.world, self.identities[name]), identity=name, random=Random(1))
        session, heard = asyncio.create_task(bus.run()), asyncio.Event()

        async def acknowledged(delivery):
            if unpack(delivery.payload, Ack).seq == seq:
                heard.set()

        bus.on(topics.down(name, Down.ACK), acknowledged)
        record = Record(seq=seq, at=time.time(), body=pack(status))
        payload = pack(Batch(boot="0" * 16, channel=Up.UPDATE, records=[record]))
        for _ in range(100):
            try:
                await bus.publish(topics.up(name, Up.UPDATE), payload)
                await asyncio.wait_for(heard.wait(), 2.0)
                break
            except (TransportError, TimeoutError):
                await asyncio.sleep(0.1)
        session.cancel()
        await asyncio.gather(session, return_exceptions=True)
        assert heard.is_set(), name

    def release(self, number):
        self.world.client.import_release(
            "street", schema=Schema(**SCHEMA), files=[("cpu-fp32.onnx", detector(), "fp32")]
        )
        name = f"street-{number}"
        self.world.until(lambda: self.world.client.release(name).published_at is not None)
        return name

    def asked(self, rollout, *names):
        def is_so():
            rows = {row.device: row.offered_at for row in self.world.client.rollout(rollout).devices}
            return all(rows[name] is not None for name in names)

        self.world.until(is_so)

    def watch(self, rollout, *options):
        argv = [str(BIN / "hinterland"), "--profile", str(self.world.profile), "rollouts", "watch", rollout, *options]
        self.watches.append(subprocess.Popen(argv, env=self.world.env, stdout=subprocess.PIPE, text=True))
        return self.watches[-1]


@pytest.fixture
def ward(tmp_path):
    world = World(tmp_path)
    world.broker.start()
    world.coordinator.start()
    world.until(world.healthy)
    made = Ward(world, tmp_path)
    for name, site in zip(NAMES, ("bonn", "bonn", "kiel"), strict=True):
        made.enrol(name, site=site)
    made.cli("apply", "-f", made.file(FILE))
    yield made
    for watch in made.watches:
        watch.kill()
        watch.communicate()
    world.stop()


def test_documents_labels_and_what_stands_in_their_way(ward):
    again = ward.json("apply", "-f", ward.file(FILE))
    assert [one["kind"] for one in again] == ["model", "device", "distribution"]
    assert {one["change"] for one in again} == {"unchanged"}
    assert ward.json("fleets", "show", "wards")["distribution"]["rate_mib_s"] == 2.0
    assert ward.json("device", "show", "watch-3")["labels"] == {"site": "kiel", "shift": "no"}
    ward.cli("device", "label", "watch-3", "line=3", "shift-", "--reason", "moved")
    assert [one["id"] for one in ward.json("devices", "--label", "line=3")] == ["watch-3"]
    assert "site=bonn" in ward.cli("devices")
    ward.cli("device", "label", "watch-9", "line=3", code=1)

    before = len(ward.json("audit", "list"))
    mixed = FILE.replace("shift: no", "shift: early") + "---\n" + ROLLOUT.replace("RELEASE", "street-9")
    said = ward.cli("apply", "-f", ward.file(mixed), code=1)
    assert "fleet.yaml, document 4: no release 'street-9'" in said
    said = ward.cli("apply", "-f", ward.file(FILE.replace("name: street", "name: street\nround: 3")), code=1)
    assert "document 1" in said
    assert "round" in said
    said = ward.cli("apply", "-f", ward.file(FILE.replace("rate_mib_s: 2", "rate: 2")), code=1)
    assert "document 3: no distribution of wards: Object contains unknown field `rate`" in said
    assert len(ward.json("audit", "list")) == before  # the sound documents of those files have done nothing


def test_a_rollout_is_rehearsed_begun_paused_and_watched_to_its_end(ward):
    first = ward.release(1)
    path = ward.file(ROLLOUT.replace("RELEASE", first))
    assert "would be created, waves of 1, 2 devices" in ward.cli("apply", "-f", path, "--dry-run")
    assert ward.json("rollouts") == []
    assert "created, waves of 1, 2 devices" in ward.cli("apply", "-f", path, "--reason", "spring")
    assert "unchanged" in ward.cli("apply", "-f", path, "--reason", "spring")
    rollout = f"{first}-wards"
    ward.asked(rollout, "watch-1")

    ward.cli("rollouts", "pause", rollout, "--reason", "night")
    ward.reports("watch-1", first, Stage.ACTIVE)
    assert "open, paused" in ward.cli("rollouts", "show", rollout)
    ward.cli("rollouts", "resume", rollout, "--reason", "day")
    watched = ward.watch(rollout)
    ward.asked(rollout, *NAMES)
    for name in NAMES[1:]:
        ward.reports(name, first, Stage.ACTIVE)
    out, _ = watched.communicate(timeout=PATIENCE_S)
    assert watched.returncode == 0, out
    assert out.splitlines()[-1].startswith(f"{rollout}: done, wave 2/2, 2 of 2 active")

    said = ward.cli("rollouts", "show", rollout)
    assert "watch-3" in said
    assert f"{rollout}, wave 1, done" in ward.cli("device", "why", "watch-1")
    for word in ("pause", "resume", "abort"):
        assert "done" in ward.cli("rollouts", word, rollout, "--reason", "late", code=1)
    ward.cli("rollouts", "watch", "nothing-wards", code=1)


def test_what_fails_halts_what_waits_is_approved_and_what_is_done_is_taken_back(ward):
    first, second = ward.release(1), ward.release(2)
    ward.cli("apply", "-f", ward.file(ROLLOUT.replace("RELEASE", first)))
    ward.asked(f"{first}-wards", "watch-1")
    for name in NAMES:
        ward.reports(name, first, Stage.ACTIVE)
    out, _ = ward.watch(f"{first}-wards").communicate(timeout=PATIENCE_S)
    assert "done" in out.splitlines()[-1]

    careful = ROLLOUT.replace("RELEASE", second) + "approvals: 2\n"
    rollout = f"{second}-wards"
    ward.cli("apply", "-f", ward.file(careful))
    assert "pending, not approved" in ward.cli("rollouts")
    keys = {name: ward.json("keys", "create", name, "--role", "release-manager")["key"] for name in ("bob", "carol")}
    assert "others approve it" in ward.cli("rollouts", "approve", rollout, "--reason", "mine", code=1)
    assert "waiting" in ward.cli("rollouts", "approve", rollout, "--reason", "seen", key=keys["bob"])
    ward.cli("rollouts", "approve", rollout, "--reason", "seen", "--seen", "0000", key=keys["carol"], code=1)
    assert "operator:bob, operator:carol" in ward.cli(
        "rollouts", "approve", rollout, "--reason", "seen", key=keys["carol"]
    )
    watched = ward.watch(rollout, "--json")
    ward.asked(rollout, "watch-1")
    ward.reports("watch-1", second, Stage.ROLLED_BACK, reason="it hung")
    out, _ = watched.communicate(timeout=PATIENCE_S)
    assert watched.returncode == 1, out
    last = json.loads(out.splitlines()[-1])
    assert (last["state"], last["reason"], last["devices"]) == ("halted", "watch-1: rolled-back (it hung)", [])
    assert "it hung" in ward.cli("rollouts", "show", rollout)

    third = ward.release(int(last["fallback"].rpartition("-")[2]) + 1)
    ward.cli("apply", "-f", ward.file(ROLLOUT.replace("RELEASE", third)))
    rollout = f"{third}-wards"
    ward.asked(rollout, "watch-1")
    assert "has ended; devices that were asked go to" in ward.cli("rollouts", "abort", rollout, "--reason", "enough")
    rows = [row for row in ward.json("audit", "list") if row["subject"] == rollout]
    assert ("rollout.abort", "enough") in [(row["action"], row["reason"]) for row in rows]
    assert "unbroken" in ward.cli("audit", "verify")
