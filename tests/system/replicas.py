"""Two real coordinators over one directory, and devices that keep talking."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random

from cloud.release.files import RepositoryFiles
from cloud.release.heads import read_heads
from edge.identity import enrol
from edge.link.outbox import Outbox
from edge.link.uplink import Uplink
from fleet.client import Client
from fleet.profile import Choice, choose
from shared.bundle import Schema
from shared.bus.mqtt import Endpoint, MqttBus
from shared.clock import SystemClock
from shared.errors import HinterlandError
from shared.ids import device_id
from shared.messages import Stage, Telemetry, UpdateStatus
from shared.topics import Up
from simulations.broker import find_mosquitto
from simulations.world.ports import free_ports
from simulations.world.process import Process
from tests.models import detector

BIN = Path(sys.executable).parent
LEASE_S = 2.0
FLEET = "wards"


class Replicas:
    """A directory, a broker, and the coordinators `a` and `b`."""

    def __init__(self, directory: Path, *, store: str = "") -> None:
        self.directory, self.logs, self.server = directory / "coordinator", directory, bool(store)
        self.ports = dict(zip("ab", free_ports(2), strict=True))
        broker, superlink = free_ports(2)
        self.env = {name: value for name, value in os.environ.items() if not name.startswith("HINTERLAND_")}
        self.env.pop("PYTHONDONTWRITEBYTECODE", None)
        self.env |= {
            "HINTERLAND_SUPERLINK_ENABLED": "false",
            "HINTERLAND_LOOP_EVERY_S": "0.2",
            "HINTERLAND_CLUSTER_REPLICAS": "a,b",
            "HINTERLAND_CLUSTER_LEASE_S": str(LEASE_S),
            "HINTERLAND_STORE_URL": store,
        }
        ports = ["--api-port", str(self.ports["a"]), "--broker-port", str(broker), "--superlink-port", str(superlink)]
        made = self.run("hinterland-coordinator", "init", "--fleet", FLEET, *ports, "--dir", str(self.directory))
        assert made.returncode == 0, made.stderr
        config = self.directory / "broker" / "mosquitto.conf"
        self.broker = Process("mosquitto", [str(find_mosquitto()), "-c", str(config)], logs=directory)
        self.coordinators = {name: self.process(name) for name in self.ports}
        chosen = choose(Choice(profile=self.directory / "cli.toml"), environ={}, home=directory)
        urls = {name: f"https://127.0.0.1:{port}" for name, port in self.ports.items()}
        self.clients = {name: Client(url, key=chosen.key, ca=Path(chosen.ca)) for name, url in urls.items()}

    def environment(self, name: str) -> dict[str, str]:
        return self.env | {"HINTERLAND_CLUSTER_REPLICA": name, "HINTERLAND_API_PORT": str(self.ports[name])}

    def process(self, name: str) -> Process:
        argv = [str(BIN / "hinterland-coordinator"), "serve", "--dir", str(self.directory)]
        return Process(f"coordinator-{name}", argv, logs=self.logs, env=self.environment(name))

    def run(self, *argv: str, **env: str) -> subprocess.CompletedProcess[str]:
        named = [str(BIN / argv[0]), *argv[1:]]
        return subprocess.run(named, env=self.env | env, capture_output=True, text=True, check=False, timeout=180)

    def leadership(self, name: str) -> str:
        try:
            return self.clients[name].health().parts["leadership"]
        except HinterlandError:
            return ""

    def leads(self, name: str) -> bool:
        return self.leadership(name).startswith("ok: leads")

    def start(self) -> None:
        self.broker.start()
        for name, ready in (("a", lambda: self.leads("a")), ("b", lambda: self.leadership("b") == "ok: follows a")):
            self.coordinators[name].start()
            self.coordinators[name].wait_until(ready, within_s=180)

    def stop(self) -> None:
        for client in self.clients.values():
            client.close()
        for coordinator in self.coordinators.values():
            coordinator.stop()
        self.broker.stop()

    def prove_repository(self) -> None:
        """All that is signed is signed by whom the root names, and nothing that is named is missing."""
        files = RepositoryFiles(self.directory / "tuf")
        heads = read_heads(files)
        for role in heads.target_roles():
            files.need(f"metadata/{heads.version(role)}.{role}.json")


class Device:
    """An enrolled device that reports all the time, and activates what it should run."""

    def __init__(self, replicas: Replicas, name: str, *, through: str) -> None:
        self.name, self.replicas, self.clock = device_id(name), replicas, SystemClock()
        token = replicas.clients[through].create_token(device=self.name, fleet=FLEET).token
        place = replicas.logs / name
        identity = enrol(place / "identity", token=token, hardware=["cpu"], runtimes=["onnxruntime"])
        endpoint = Endpoint(
            host=identity.broker_host,
            port=identity.broker_port,
            ca=identity.authority_file,
            certificate=identity.certificate_file,
            key=identity.key_file,
        )
        self.bus = MqttBus(endpoint, identity=self.name, random=Random(name))
        self.outbox = Outbox.open(place / "outbox", cap=1 << 24, clock=self.clock, random=Random(name))
        self.uplink = Uplink(self.bus, self.outbox, device=self.name, clock=self.clock, resend_s=1)
        self.said = 0
        self.quiet = False
        self._active = ""

    async def talk(self) -> None:
        """Telemetry until `quiet`."""
        while not self.quiet:
            window = Telemetry(
                pipeline="p",
                model="street",
                release="street-1",
                since=self.said,
                until=self.said + 1,
                processed=1,
                errors=0,
            )
            await self.uplink.say(Up.TELEMETRY, window)
            self.said += 1
            await asyncio.sleep(0.1)

    async def activate(self, through: Callable[[], str]) -> None:
        """Say that what is asked of this device serves."""
        while True:
            with_whom = self.replicas.clients[through()]
            try:
                models = (await asyncio.to_thread(with_whom.device, self.name)).models
            except HinterlandError:
                models = []
            wanted = models[0].desired if models else ""
            if wanted and wanted != self._active:
                self._active = wanted
                status = UpdateStatus(model="street", release=wanted, stage=Stage.ACTIVE)
                await self.uplink.say(Up.UPDATE, status)
            await asyncio.sleep(0.3)

    def pending(self) -> int:
        return sum(self.outbox.ledger(channel).pending for channel in (Up.TELEMETRY, Up.UPDATE))


LINE = {
    "name": "street",
    "fleets": [FLEET],
    "soak_s": 0.5,
    "schema": {"kind": "detection", "labels": ["person"], "input_shape": [3, 300, 300]},
}


def order(client: Client) -> None:
    """Have a release made and rolled out."""
    client.apply_model(LINE)
    schema = Schema(kind="detection", labels=["person"], input_shape=[3, 300, 300])
    client.import_release("street", schema=schema, files=[("cpu-fp32.onnx", detector(), "fp32")])


async def until(true: Callable[[], bool], *, within_s: float = 180.0) -> float:
    """Seconds that it took."""
    began = time.monotonic()
    while not await asyncio.to_thread(true):
        assert time.monotonic() - began < within_s, "it did not happen in time"
        await asyncio.sleep(0.05)
    return time.monotonic() - began


def kinds(client: Client) -> Counter[str]:
    return Counter(event.kind for event in client.events())
