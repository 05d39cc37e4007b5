"""An agent's update station in a process of its own: it starts, serves what is committed, and follows what is wanted.

All parts are the real ones but two twins: the broker is in this process, and a model is a Python function.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import numpy as np

from cloud.distribution.blobs import MemoryBlobs
from cloud.distribution.chunks import ChunkServer
from edge.inference.host import ModelHost
from edge.inference.memory_runtime import MemorySession
from edge.inference.runtime import Load
from edge.update.journal import Journal
from edge.update.pace import Patience
from edge.update.parts import Parts
from edge.update.reconcile import Reconciler
from edge.update.slots import Slots
from edge.update.trust import Trust
from shared.bundle import Release, Runtime, Variant
from shared.bus import Bus
from shared.bus.memory import MemoryBroker
from shared.clock import SystemClock
from shared.errors import FaultError
from shared.ids import sha256
from shared.messages import UpdateStatus
from shared.trust import TrustClient
from shared.trust.source import DirectorySource
from tests.fault.ground import BROKEN, DEVICE, FLEET, LABELS, SHAPE, SICK, Ground

PATIENCE = Patience(silence_s=0.05, most_s=0.2, give_up_s=30)  # longer than a busy machine can stand still
TURNS = 6
"""Looks at what is wanted, after which an agent that is not through counts as stuck."""

Say = Callable[..., None]

Link = tuple[Bus, Bus]
"""The coordinator's end, and the device's."""

Serve = Callable[[Bus, MemoryBlobs], Any]
"""Makes what answers devices that lack chunks."""


@dataclass(frozen=True)
class Place:
    """Where one device's state lies, and what its processes tell."""

    device: Path
    log: Path

    def heard(self, kind: str) -> list[Any]:
        """What was said under `kind`, by all processes so far."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [said[kind] for said in map(json.loads, lines) if kind in said]


def _todays(bus: Bus, blobs: MemoryBlobs) -> ChunkServer:
    return ChunkServer(bus, blobs, clock=SystemClock(), gather_s=0, quiet_s=0.01)


class Host(ModelHost):
    """The real one, and a word for each release that came into service."""

    def __init__(self, load: Load, say: Say) -> None:
        super().__init__(load)
        self._say = say

    async def activate(self, model: str, release: Release, variant: Variant, path: Path) -> None:
        await super().activate(model, release, variant, path)
        self._say(served=release.id)

    def ailing(self, model: str) -> str:
        served = self.serving(model)
        return "it fails in service" if served is not None and served.release.id in SICK else ""


class Station:
    """One process of the agent."""

    def __init__(
        self, ground: Ground, place: Place, *, state: str, link: Link | None = None, serve: Serve | None = None
    ) -> None:
        """Take another link than a broker in memory, or another coordinator than today's."""
        self._log = os.open(place.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._write = os.write  # before anybody counts what is written
        self.ground = ground
        self.broker = MemoryBroker()
        self._coordinator, self._bus = link or (self.broker.bus("coordinator"), self.broker.bus(DEVICE))
        blobs = MemoryBlobs()
        for data in ground.blobs():
            blobs.put(data)
        clock = SystemClock()
        self.server = (serve or _todays)(self._coordinator, blobs)
        self.host = Host(self._load, self.say)
        source = DirectorySource(ground.signed(state))
        client = TrustClient(place.device / "trust", root=ground.root, source=source, clock=clock)
        self.parts = Parts(
            device=DEVICE,
            models=place.device / "models",
            bus=self._bus,
            trust=Trust(client, fleet=FLEET, hardware=["cpu"], runtimes=[Runtime.ONNXRUNTIME]),
            journal=Journal(place.device / "journal.json"),
            serving=self.host,
            report=self._report,
            clock=clock,
            random=Random(1),
            patience=PATIENCE,
        )
        self.reconciler = Reconciler(self.parts)
        self.done: Callable[[], object] = lambda: None
        """Called when this process has come through."""

    def say(self, **words: Any) -> None:
        """Tell the judge; the page cache keeps it when this process is killed."""
        self._write(self._log, json.dumps(words).encode() + b"\n")

    def serving(self) -> dict[str, str]:
        """Model → release that answers inputs now."""
        models = self.reconciler.active
        served = {model: self.host.serving(model) for model in models}
        return {model: place.release.id for model, place in served.items() if place is not None}

    async def start(self) -> None:
        """What an agent does before anything else."""
        await self.reconciler.resume()
        pointers = {model: Slots(self.parts.models, model).active() for model in self.reconciler.active}
        self.say(start=self.serving(), pointers=pointers, journal=self._journal())

    async def follow(self) -> None:
        """Turn until nothing is left to be done."""
        async with self.connected():
            for _ in range(TURNS):
                before = self._journal()
                await self.reconciler.reconcile_once()
                if self._journal() == before:
                    break
        beside = {model: self.host.challenger(model) for model in self.reconciler.active}
        self.say(end=self.serving(), beside=beside, journal=self._journal())

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        """The link is there."""
        running = [asyncio.create_task(each.run()) for each in (self._coordinator, self._bus, self.server)]
        while not (self._bus.connected and self._coordinator.connected):
            await asyncio.sleep(0.001)
        try:
            yield
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    def _journal(self) -> dict[str, Any]:
        journal = self.parts.journal
        return {model: msgspec.to_builtins(journal.entry(model)) for model in journal.models()}

    def _load(self, data: bytes) -> MemorySession:
        self.say(loaded=sha256(data))
        if data.startswith(BROKEN):
            raise FaultError("this model does not load")
        return MemorySession(lambda batch: [np.zeros((len(batch), len(LABELS)), np.float32)], input_shape=SHAPE)

    async def _report(self, status: UpdateStatus) -> None:
        self.say(said=[status.release, status.stage.value, status.reason])


async def live(station: Station) -> None:
    """From the start of a process to where nothing is left to be done."""
    await station.start()
    await station.follow()


async def main(ground: str, device: str, log: str, state: str) -> None:
    """As `live`, with all that blocks in one thread: strace counts system calls by thread."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(max_workers=1))
    await live(Station(Ground(Path(ground)), Place(Path(device), Path(log)), state=state))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
