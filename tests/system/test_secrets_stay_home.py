"""Canaries in every secret and in the sensor's raw windows: nothing that a process says, stores or sends holds one.

A coordinator, a broker and an agent run at debug level while things go wrong on purpose; then all that came out of
them is searched for each canary, as it is and as base64, hexadecimal and URL encoding would show it.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sqlite3
import ssl
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from urllib.parse import quote

import httpx
import msgspec
import numpy as np
import pytest

from fleet.client import Client
from fleet.profile import Choice, choose
from shared.bundle import Schema
from shared.bus.mqtt import Endpoint, MqttBus
from shared.enrolment import parse_token
from simulations.broker import find_mosquitto
from simulations.world.ports import free_ports
from simulations.world.process import Process
from tests.models import LABELS, SHAPE, classifier

pytestmark = [pytest.mark.system, pytest.mark.slow]

BIN = Path(sys.executable).parent
MARK = b"CANARYinAWindow!"  # as four float32
DEBUG = """
import logging, sys
import cloud.main
cloud.main._log = lambda: logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
cloud.main.main()
"""
ROUTES = ("devices", "models", "runs", "releases", "rollouts", "drift", "telemetry/summary", "events", "audit")


def disguises(secret: bytes) -> Iterator[bytes]:
    """The secret as it might lie in a log, a database or a message."""
    yield secret
    yield secret.hex().encode()
    yield secret.hex().upper().encode()
    yield quote(secret).encode()
    for shift in range(3):  # base64 looks different at each of three places
        text = base64.b64encode(b"\0" * shift + secret)
        whole = text[4 if shift else 0 : -4]
        yield whole
        yield whole.replace(b"+", b"-").replace(b"/", b"_")


def leaks(canaries: dict[str, bytes], said: dict[str, bytes]) -> list[str]:
    return [
        f"{name} in {place}"
        for name, secret in canaries.items()
        for form in set(disguises(secret))
        for place, data in said.items()
        if form in data
    ]


class World:
    """A coordinator with planted secrets."""

    def __init__(self, place: Path) -> None:
        self.place, self.directory = place, place / "coordinator"
        self.canaries = {
            "passphrase": b"CanaryOfThePassphrase_" + os.urandom(8).hex().encode(),
            "control token": b"CanaryOfTheControlToken_" + os.urandom(8).hex().encode(),
            "vault token": b"hvs.CanaryOfVault" + os.urandom(8).hex().encode(),
            "a wrong key": b"CanaryOfAWrongKey_" + os.urandom(8).hex().encode(),
            "a database password": b"CanaryOfTheDatabase_" + os.urandom(8).hex().encode(),
            "a raw window": MARK,
        }
        self._plant("keys/passphrase", "passphrase")
        self._plant("superlink/control-token", "control token")
        self.env = {name: value for name, value in os.environ.items() if not name.startswith("HINTERLAND_")}
        self.env |= {"HINTERLAND_SUPERLINK_ENABLED": "false", "HINTERLAND_LOOP_EVERY_S": "0.2"}
        self.env |= {"VAULT_TOKEN": self.canaries["vault token"].decode(), "PYTHONFAULTHANDLER": "1"}
        self.heard: list[bytes] = []
        self.arguments = b""

    def _plant(self, file: str, name: str) -> None:
        path = self.directory / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.canaries[name])
        path.chmod(0o600)

    def process(self, name: str, *arguments: str, env: dict[str, str] | None = None) -> Process:
        argv = [sys.executable, "-c", DEBUG, *arguments, "--dir", str(self.directory)]
        return Process(name, argv, logs=self.place / "logs", env={**self.env, **(env or {})})

    def run(self, name: str, *arguments: str, env: dict[str, str] | None = None) -> None:
        process = self.process(name, *arguments, env=env)
        process.start()
        while process.exit_code is None:
            time.sleep(0.05)

    def init(self) -> None:
        ports = free_ports(3)
        names = ("--api-port", "--broker-port", "--superlink-port")
        flags = [word for name, port in zip(names, ports, strict=True) for word in (name, str(port))]
        self.run("init", "init", "--fleet", "wards", *flags)
        chosen = choose(Choice(profile=self.directory / "cli.toml"), environ={}, home=self.place)
        self.canaries["API key"] = chosen.key.removeprefix("hlk_")[-30:].encode()
        self.client = Client(chosen.url, key=chosen.key, ca=Path(chosen.ca))
        self.http = httpx.Client(
            base_url=chosen.url + "/v1", verify=ssl.create_default_context(cafile=chosen.ca), timeout=180
        )
        self.key, self.broker_port = chosen.key, ports[1]

    def agent(self, token: str, *, name: str = "agent", second: str = "odd.npz") -> Process:
        """A device whose windows carry the mark, and whose second pipeline has windows that no model takes."""
        windows = np.tile(np.frombuffer(MARK, np.float32), (40, 8))[:, : SHAPE[0] * SHAPE[1]].reshape(40, *SHAPE)
        np.savez(self.place / "stream.npz", x=windows)
        np.savez(self.place / "odd.npz", x=windows[:, :2, :7])
        (self.place / "broken.npz").write_bytes(MARK * 50)
        state, config = self.place / "agent", self.place / "agent.toml"
        (self.place / "token").write_text(token)
        pipelines = "".join(
            f'[[pipelines]]\nname = "{pipeline}"\nmodel = "toy"\nremember = true\n'
            f'source = {{ kind = "replay", path = "{self.place / file}", rate = 30.0, loop = true }}\n'
            for pipeline, file in (("wrist", "stream.npz"), ("broken", second))
        )
        config.write_text(
            f'[agent]\nstate = "{state}"\ntoken_file = "{self.place / "token"}"\nlog_level = "debug"\n'
            f"[reporting]\ntelemetry_s = 0.5\ndrift_inputs = 20\n[update]\ncheck_s = 0.3\n{pipelines}"
        )
        argv = [str(BIN / "hinterland-agent"), "run", "--config", str(config)]
        return Process(name, argv, logs=self.place / "logs", env={"OMP_NUM_THREADS": "1"})

    def provoke(self, token: str) -> None:
        """Wrong keys, wrong tokens, wrong bodies, a database that is not there."""
        wrong, good = self.canaries["a wrong key"].decode(), {"authorization": f"Bearer {self.key}"}
        for header in (f"Bearer {wrong}", f"Bearer hlk_{'0' * 16}_{wrong[:43]:x<43}", f"Basic {wrong}", wrong):
            self.http.get("/devices", headers={"authorization": header})
        cut = token[:-9] + "AAAA" + token[-5:]
        for body in ({"token": cut, "csr": "x"}, {"token": token, "csr": 7}, {"token": token, "csr": wrong}, wrong):
            self.http.post("/enrol", json=body)
        self.http.post("/renew", json={"certificate": wrong, "csr": wrong, "signature": wrong})
        self.http.post("/tokens", headers=good, content=wrong)
        url = f"postgresql+psycopg://hinterland:{self.canaries['a database password'].decode()}@127.0.0.1:1/h"
        self.run("no-database", "serve", env={"HINTERLAND_STORE_URL": url, "HINTERLAND_API_PORT": "0"})
        (self.directory.parent / "other").mkdir()
        self.run("no-passphrase", "key", "eve", env={"HINTERLAND_SECRETS_PASSPHRASE_FILE": "/nowhere"})

    def said(self) -> dict[str, bytes]:
        """All that came out, by the place it was found in."""
        good = {"authorization": f"Bearer {self.key}"}
        found = {f"GET /{route}": self.http.get(f"/{route}", headers=good).content for route in (*ROUTES, "health")}
        found |= {path.name: path.read_bytes() for path in (self.place / "logs").iterdir()}
        found["the broker's messages"] = b"\n".join(self.heard)
        found["arguments"] = self.arguments
        with sqlite3.connect(self.directory / "db.sqlite") as connection:
            found["the database's dump"] = "\n".join(connection.iterdump()).encode()
            copy = sqlite3.connect(self.place / "backup.sqlite")
            connection.backup(copy)
            copy.close()
        connection.close()
        found["the database's backup"] = (self.place / "backup.sqlite").read_bytes()
        kept = ("keys", "superlink", "cli.toml", "tls")  # where secrets are at home
        for path in self.directory.rglob("*"):
            if path.is_file() and path.relative_to(self.directory).parts[0] not in kept:
                found[str(path.relative_to(self.directory))] = path.read_bytes()
        outbox = [path for path in (self.place / "agent" / "outbox").rglob("*") if path.is_file()]
        return found | {f"outbox {path.name}": path.read_bytes() for path in outbox}

    def note_arguments(self) -> None:
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                self.arguments += path.read_bytes() + b"\n"
            except OSError:
                continue  # it has ended


async def listen(world: World, work: asyncio.Future[None]) -> None:
    """Hear everything on the broker, as an observer may, until `work` is done."""
    tls = world.directory / "tls"
    endpoint = Endpoint(
        host="127.0.0.1",
        port=world.broker_port,
        ca=world.directory / "ca" / "ca.crt",
        certificate=tls / "operator.crt",
        key=tls / "operator.key",
    )
    bus = MqttBus(endpoint, identity="operator", random=Random(1))

    async def heard(delivery) -> None:
        world.heard.append(delivery.topic.encode() + b" " + delivery.payload)

    bus.on("hl/1/#", heard)
    session = asyncio.create_task(bus.run())
    try:
        await work
    finally:
        session.cancel()
        await asyncio.gather(session, return_exceptions=True)


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    made.init()
    argv = [str(find_mosquitto()), "-v", "-c", str(made.directory / "broker/mosquitto.conf")]
    broker = Process("broker", argv, logs=tmp_path / "logs")
    coordinator = made.process("coordinator", "serve")
    broker.start()
    coordinator.start()
    coordinator.wait_until(lambda: _healthy(made), within_s=180)
    yield made
    coordinator.stop()
    broker.stop()
    made.client.close()
    made.http.close()


def _healthy(world: World) -> bool:
    try:
        return world.client.health().parts["broker"] == "ok"
    except Exception:
        return False


def _live(world: World) -> None:
    """What happens in a day, in seconds, with an accident now and then."""
    issued = world.client.create_token(device="watch-1").token
    world.canaries["enrolment token"] = parse_token(issued).secret.encode()
    schema = Schema(kind="classification", labels=LABELS, input_shape=SHAPE)
    document = {"name": "toy", "fleets": ["wards"], "schema": msgspec.to_builtins(schema), "soak_s": 0.0}
    world.client.apply_model(document)
    world.provoke(issued)
    crashed = world.agent(issued, name="crashed-agent", second="broken.npz")
    crashed.start()
    while crashed.exit_code is None:
        time.sleep(0.1)
    agent = world.agent(issued)
    agent.start()
    try:
        agent.wait_until(lambda: bool(world.client.devices()), within_s=180)
        world.client.import_release("toy", schema=schema, files=[("cpu-fp32.onnx", classifier(), "fp32")])
        agent.wait_until(lambda: _infers(world), within_s=180)
        world.note_arguments()
    finally:
        agent.stop()


def _infers(world: World) -> bool:
    spoken = any(b"up/drift" in message for message in world.heard)
    return spoken and any(view.processed > 40 for view in world.client.telemetry().inference)


def test_no_canary_leaves_its_cage(world):
    async def play() -> None:
        await listen(world, asyncio.ensure_future(asyncio.to_thread(_live, world)))

    asyncio.run(play())
    said = world.said()
    assert leaks(world.canaries, said) == []
    # the search sees what it should: the agent inferred, spoke, failed where it was made to, and all of it was read
    assert b"up/telemetry" in said["the broker's messages"]
    assert b"up/drift" in said["the broker's messages"]
    assert b"is no recording" in said["crashed-agent.log"]
    assert b"DEBUG" in said["coordinator.log"]
    assert "audit" in json.loads(said["GET /health"])["parts"]
    assert len(said) > 25


@pytest.mark.parametrize("name", ["API key", "a raw window"])
@pytest.mark.parametrize("disguise", range(len(list(disguises(b"x" * 30)))))
def test_the_search_finds_what_was_leaked_on_purpose(name, disguise):
    canaries = {"API key": b"CanaryOfTheKey?>" + b"k" * 20, "a raw window": MARK}
    for before in (b"", b"a", b"ab"):
        form = list(disguises(canaries[name]))[disguise]
        assert leaks(canaries, {"log": b"key=" + before + form + b" end", "clean": b"nothing"}) == [f"{name} in log"]
    shown = base64.b64encode(b"xy" + canaries[name] + b"tail")
    assert leaks(canaries, {"dump": shown}) == [f"{name} in dump"]
