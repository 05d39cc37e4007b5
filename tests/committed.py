"""A device on disk that was enrolled and has committed a release: what a real agent's process starts from."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any

from cloud.ingest.inbox import MemoryInbox
from cloud.ingest.ingest import Ingest
from cloud.release.modelsig import MODEL_SIGNING, sign_models
from edge import settings as conf
from edge.identity import Identity
from edge.identity.identity import store
from edge.wiring import build
from shared.bundle import FleetDesired, Release, Runtime, Schema, Variant, split
from shared.clock import SystemClock
from shared.enrolment import EnrolAnswer
from tests.models import LABELS, SHAPE, classifier
from tests.site import Place
from tests.update_world import DEVICE, FLEET, TENANT, UpdateWorld

SCHEMA = Schema(kind="classification", labels=LABELS, input_shape=SHAPE)


class Device:
    """Its settings file, and the coordinator that it knows. Reached by nobody: its broker's address is nobody's."""

    def __init__(self, directory: Path, until: Any, *, text: str = "") -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self.state = directory / "state"
        self.config = directory / "agent.toml"
        self.config.write_text(f'[agent]\nstate = "{self.state}"\n{text}')
        self.world = UpdateWorld(directory / "cloud", until)
        self.place = Place(directory / "place")
        self.identity = self._enrol()
        self._until = until
        self.python = sys.executable
        """What runs the agent's process."""

    def add(self, text: str) -> None:
        """More settings."""
        self.config.write_text(f"{self.config.read_text()}\n{text}")

    def ship(self, counter: int, data: bytes, *, model: str = "toy", schema: Schema = SCHEMA) -> Release:
        """Sign a release, and want it."""
        variant = Variant(
            name="cpu.onnx", runtime=Runtime.ONNXRUNTIME, precision="fp32", hardware=["cpu"],
            digest=self.world.blobs.put(data), size=len(data), chunks=split(data),
        )  # fmt: skip
        release = Release(
            id=f"{model}-{counter}", model=model, counter=counter, schema=schema, variants=[variant], created=1.0
        )
        self.world.repository.publish_release(sign_models(release, self.world.keys.signer(MODEL_SIGNING)))
        self.world.repository.set_desired(FleetDesired(fleet=FLEET, default={model: release.id}))
        return release

    def agent(self, **parts: Any) -> Any:
        """The agent in this process, over the broker in memory."""
        parts = {"bus": self.world.broker.bus(DEVICE), "random": Random(1), **parts}
        return build(conf.read(self.config), self.identity, config=self.config, **parts)

    async def publish(self) -> None:
        """Send out what is signed."""
        repository = self.world.repository
        await self.world.publisher.publish(repository.files(), fleets=[FLEET], timestamp=repository.timestamp_version)

    async def commit(self, running: Any, data: bytes | None = None, *, schema: Schema = SCHEMA) -> None:
        """Have release 1 of `toy` committed on the disk."""
        release = self.ship(1, data or classifier(), schema=schema)
        agent, stop = self.agent(), asyncio.Event()
        ingest = Ingest(self.world.coordinator, MemoryInbox(), clock=SystemClock())
        async with running(self.world.coordinator, self.world.server, ingest):
            await self.publish()
            task = asyncio.create_task(agent.run(stop))
            try:
                await self._until(lambda: agent.updates.active.get("toy") == release.id)
            finally:
                stop.set()
                await task

    def _enrol(self) -> Identity:
        papers = self.place.identity(DEVICE)
        answer = EnrolAnswer(
            device=DEVICE, fleet=FLEET, tenant=TENANT,
            certificate=papers.certificate_file.read_text(), authority=papers.authority_file.read_text(),
            root=self.world.repository.root_bytes.decode(), broker_host="127.0.0.1", broker_port=1,
        )  # fmt: skip
        directory = self.state / "identity"
        directory.mkdir(parents=True, mode=0o700)
        (directory / "device.key").write_bytes(papers.key_file.read_bytes())
        (directory / "device.key").chmod(0o600)
        return store(directory, answer, url="https://127.0.0.1:1")

    @contextmanager
    def process(self, **environ: str) -> Iterator[subprocess.Popen[bytes]]:
        """The agent's real process while the block lasts; what it said is in `agent.log`."""
        argv = [self.python, "-m", "edge.main", "run", "--config", str(self.config)]
        with (self.directory / "agent.log").open("ab") as log:
            child = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=os.environ | environ
            )
        try:
            yield child
        finally:
            with suppress(ProcessLookupError):
                child.send_signal(signal.SIGTERM)
            try:
                child.wait(60)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
                raise

    def said(self) -> str:
        """The log of its process."""
        return (self.directory / "agent.log").read_text()


class Manager:
    """The end of sd_notify(3) where systemd listens."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self.heard: list[str] = []

    def hears(self, text: str, within_s: float = 120.0) -> bool:
        """Whether it is told that, now or soon."""
        deadline = time.monotonic() + within_s
        while text not in self.heard and (left := deadline - time.monotonic()) > 0:
            self._socket.settimeout(left)
            with suppress(TimeoutError):
                self.heard += self._socket.recv(4096).decode().splitlines()
        return text in self.heard

    def close(self) -> None:
        self._socket.close()
