"""A site with three cameras that fail, a real broker that is cut, and an agent's real process that must not mind."""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import numpy as np

from cloud.distribution.chunks import ChunkServer
from cloud.distribution.metadata import MetadataPublisher
from cloud.ingest.inbox import MemoryInbox
from cloud.ingest.ingest import Ingest
from edge.identity import Identity
from edge.identity.identity import store
from shared.bundle import Schema
from shared.bus.mqtt import MqttBus
from shared.clock import SystemClock
from shared.codec import unpack
from shared.enrolment import EnrolAnswer
from shared.errors import HinterlandError
from shared.messages import Stage, Stall, Telemetry, UpdateStatus
from shared.topics import Up
from tests.committed import Device
from tests.models import detector
from tests.real_broker import Mosquitto
from tests.rtsp import Camera, Mode, make_clip
from tests.update_world import DEVICE, FLEET, TENANT

SIDE = 32
SCHEMA = Schema(kind="detection", labels=["a", "b"], input_shape=[3, SIDE, SIDE])
WATCHDOG_S = 3.0
RATE = 10.0
"""Frames a second that each camera sends."""

PIPELINE = """
[[pipelines]]
name = "{name}"
model = "toy"
[pipelines.source]
kind = "rtsp"
url = "{url}"
fps = 5.0
open_s = 3.0
silent_s = {watch}
frozen_s = {watch}
retry_s = 2.0
"""


class Fault(NamedTuple):
    """What was done to a camera, in Unix seconds."""

    camera: str
    kind: str
    """A `Mode`, or `vanished`."""

    began: float
    ended: float


class SiteDevice(Device):
    """A device of a site with a real broker."""

    def __init__(self, directory: Path, until: Any, mosquitto: Mosquitto, *, text: str) -> None:
        self.mosquitto = mosquitto
        super().__init__(directory, until, text=text)

    def _enrol(self) -> Identity:
        certificate, key = self.mosquitto.certificates.issue(DEVICE)
        answer = EnrolAnswer(
            device=DEVICE,
            fleet=FLEET,
            tenant=TENANT,
            certificate=certificate.read_text(),
            authority=self.mosquitto.certificates.ca.read_text(),
            root=self.world.repository.root_bytes.decode(),
            broker_host="127.0.0.1",
            broker_port=self.mosquitto.broker.port,
        )
        directory = self.state / "identity"
        directory.mkdir(parents=True, mode=0o700)
        shutil.copyfile(key, directory / "device.key")
        (directory / "device.key").chmod(0o600)
        return store(directory, answer, url="https://127.0.0.1:1")


@dataclass
class Site:
    """All of it; `run` makes trouble for some time."""

    directory: Path
    mosquitto: Mosquitto
    until: Any
    seed: int = 1
    swap_s: float = 20.0
    cut_s: float = 60.0
    calm_s: tuple[float, float] = (6.0, 20.0)
    trouble_s: tuple[float, float] = (5.0, 12.0)
    cameras: dict[str, Camera] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    good: list[str] = field(default_factory=list)
    bad: list[str] = field(default_factory=list)
    cuts: int = 0
    rss: list[tuple[float, float]] = field(default_factory=list)
    """(seconds since the start, MiB) of the agent's own process."""

    def __post_init__(self) -> None:
        self.clock, self.random = SystemClock(), Random(self.seed)
        clip = make_clip(frames=100, gop=10)
        self.cameras = {name: Camera(clip, fps=RATE) for name in ("gate", "yard", "dock")}
        for camera in self.cameras.values():
            camera.start()
        text = "[reporting]\ntelemetry_s = 2.0\n[training]\nenabled = false\n"
        text += "".join(
            PIPELINE.format(name=name, url=camera.url, watch=WATCHDOG_S) for name, camera in self.cameras.items()
        )
        self.device = SiteDevice(self.directory, self.until, self.mosquitto, text=text)
        endpoint = self.mosquitto.endpoint("coordinator")
        self.coordinator = MqttBus(endpoint, identity="coordinator", random=Random(2), timeout_s=10)
        self.inbox = MemoryInbox()
        self.server = ChunkServer(self.coordinator, self.device.world.blobs, clock=self.clock, gather_s=0, quiet_s=0.01)
        self.publisher = MetadataPublisher(self.coordinator, tenant=TENANT)
        self.ingest = Ingest(self.coordinator, self.inbox, clock=self.clock)

    def close(self) -> None:
        for camera in self.cameras.values():
            camera.stop()

    async def publish(self) -> None:
        """Again and again until the broker takes it: it may be away."""
        repository = self.device.world.repository
        while True:
            with suppress(HinterlandError, TimeoutError):
                async with asyncio.timeout(20):
                    return await self.publisher.publish(
                        repository.files(), fleets=[FLEET], timestamp=repository.timestamp_version
                    )
            await asyncio.sleep(0.5)

    async def release(self, counter: int) -> None:
        """Every third cannot be loaded."""
        spoilt = counter % 3 == 0
        data = b"no model %d" % counter if spoilt else detector(size=SIDE, anchors=4 + counter % 40)
        made = await asyncio.to_thread(self.device.ship, counter, data, schema=SCHEMA)
        (self.bad if spoilt else self.good).append(made.id)
        await self.publish()

    async def run(self, agent: Any, seconds: float) -> None:
        """Make trouble; at the end all cameras are live, and have been for a moment."""
        end = self.clock.monotonic() + seconds
        await asyncio.gather(
            *(self._trouble(name, Random(f"{self.seed}{name}"), end) for name in self.cameras),
            self._swap(end),
            self._cut(end),
            self._measure(agent, end),
        )
        await self.until(lambda: all(not self.open_stall(name) for name in self.cameras))

    async def _trouble(self, name: str, random: Random, end: float) -> None:
        camera, kinds = self.cameras[name], ["silent", "frozen", "vanished", "broken"]
        random.shuffle(kinds)
        for turn in range(1 << 20):
            calm, trouble = random.uniform(*self.calm_s), random.uniform(*self.trouble_s)
            if self.clock.monotonic() + calm + trouble > end:
                break
            await asyncio.sleep(calm)
            await self.until(lambda: not self.open_stall(name))
            kind, began = kinds[turn % len(kinds)], self.clock.now()
            await self._fail(camera, kind, trouble)
            self.faults.append(Fault(name, kind, began, self.clock.now()))
        await asyncio.sleep(max(0.0, end - self.clock.monotonic()))

    async def _fail(self, camera: Camera, kind: str, seconds: float) -> None:
        if kind == "vanished":
            await asyncio.to_thread(camera.stop)
            await asyncio.sleep(seconds)
            await asyncio.to_thread(camera.start)
            return
        mode: Mode = kind  # type: ignore[assignment]  # one of them
        camera.mode = mode
        await asyncio.sleep(seconds)
        camera.mode = "live"

    async def _swap(self, end: float) -> None:
        counter = 1
        while self.clock.monotonic() + self.swap_s < end:
            await asyncio.sleep(self.swap_s)
            counter += 1
            await self.release(counter)
        if counter % 3 == 0:  # end with one that serves
            await self.release(counter + 1)

    async def _cut(self, end: float) -> None:
        while self.clock.monotonic() + self.cut_s + 15 < end:
            await asyncio.sleep(self.cut_s)
            await asyncio.to_thread(self.mosquitto.broker.kill)
            await asyncio.sleep(self.random.uniform(1, 5))
            await asyncio.to_thread(self.mosquitto.broker.start)
            self.cuts += 1
            await self.publish()

    async def _measure(self, agent: Any, end: float) -> None:
        began = self.clock.monotonic()
        while self.clock.monotonic() < end:
            await asyncio.sleep(2.0)
            pages = int(Path(f"/proc/{agent.pid}/statm").read_text().split()[1])
            self.rss.append((self.clock.monotonic() - began, pages * 4096 / (1 << 20)))

    # What the coordinator was told

    def telemetry(self, pipeline: str) -> list[Telemetry]:
        return [each for each in self._bodies(Up.TELEMETRY, Telemetry) if each.pipeline == pipeline]

    def stages(self, release: str) -> list[Stage]:
        return [each.stage for each in self._bodies(Up.UPDATE, UpdateStatus) if each.release == release]

    def stalls(self, pipeline: str) -> list[Stall]:
        return [stall for each in self.telemetry(pipeline) for stall in each.stalls]

    def open_stall(self, pipeline: str) -> bool:
        """Whether one lasts, as far as was told."""
        told = self.stalls(pipeline)
        return bool(told) and not told[-1].until

    def frames(self, pipeline: str) -> Counter[str]:
        """All counts of a pipeline's life."""
        total: Counter[str] = Counter()
        for each in self.telemetry(pipeline):
            total.update({"received": each.received, "processed": each.processed, "errors": each.errors})
            total.update(
                {"dropped": each.dropped} | {f"dropped.{why}": count for why, count in each.dropped_by.items()}
            )
        return total

    def slope(self, *, after: float = 0.25) -> float:
        """MiB an hour of the agent's memory, by least squares over all but the first part of the time."""
        at, size = np.array(self.rss[int(len(self.rss) * after) :]).T
        return float(np.polyfit(at, size, 1)[0]) * 3600

    def _bodies(self, channel: Up, kind: Any) -> Iterator[Any]:
        for stream, records in self.inbox.records.items():
            if stream.channel == channel:
                yield from (unpack(records[seq].body, kind) for seq in sorted(records))


def unnoticed(faults: Sequence[Fault], stalls: Sequence[Stall], *, within_s: float) -> list[Fault]:
    """Faults for which no stall of the right reason was noticed in time."""
    reason = {"vanished": {"ended", "unreachable"}}
    missed = []
    for fault in faults:
        wanted = reason.get(fault.kind, {fault.kind})
        found = [
            stall
            for stall in stalls
            if stall.reason in wanted and fault.began - 1.0 <= stall.since and stall.noticed <= fault.began + within_s
        ]
        if not found:
            missed.append(fault)
    return missed
