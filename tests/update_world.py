"""A device's update station and a coordinator that signs and distributes, over a broker in memory."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random
from typing import Any

from msgspec import structs

from cloud.devices.broker import AccessList, Grant
from cloud.distribution.blobs import MemoryBlobs
from cloud.distribution.chunks import ChunkServer
from cloud.distribution.metadata import MetadataPublisher
from cloud.release.keys import MemoryKeys
from cloud.release.modelsig import MODEL_SIGNING, sign_models
from cloud.release.repository import Repository
from edge.link.retained import RetainedFiles
from edge.update.journal import Journal
from edge.update.neighbours import Neighbours
from edge.update.pace import Patience
from edge.update.parts import Parts
from edge.update.preflight import Preflight
from edge.update.reconcile import Reconciler
from edge.update.serving import MemoryServing
from edge.update.trust import Trust
from shared.bundle import Challenge, FleetDesired, Release, Runtime, Schema, Variant, split
from shared.bus.memory import MemoryBroker
from shared.clock import SystemClock
from shared.ids import DeviceId, device_id, fleet_id, sha256, tenant_id
from shared.messages import UpdateStatus
from shared.trust import TrustClient

Until = Callable[..., Awaitable[None]]
TENANT, FLEET, DEVICE = tenant_id("acme"), fleet_id("north"), device_id("device-a")
OTHERS = (device_id("device-b"), device_id("device-c"))
PATIENCE = Patience(silence_s=0.05, most_s=0.2, give_up_s=2)


class DeviceWorld:
    """One device's update station on a bus; `restart` is what a new process of the agent would do."""

    def __init__(self, world: UpdateWorld, directory: Path, device: DeviceId = DEVICE) -> None:
        self.world = world
        self.directory = directory
        self.device = device
        self.bus = world.broker.bus(device)
        self.serving = MemoryServing()
        self.said: list[UpdateStatus] = []
        self.patience = PATIENCE
        self.preflight: Preflight | None = None
        self.neighbours: Neighbours | None = None
        self.masks: Callable[[Any], object] | None = None
        self.hardware = ["cpu"]
        self.runtimes = [Runtime.ONNXRUNTIME]
        self.unexecuted = False
        self.files = RetainedFiles(self.bus, tenant=TENANT, fleet=FLEET)
        self.clock = SystemClock()
        self.reconciler = self._reconciler()

    def restart(self, serving: MemoryServing | None = None) -> None:
        """A new process over the same disk; what is in memory is gone."""
        self.serving = serving or MemoryServing()
        self.reconciler = self._reconciler()

    @property
    def models(self) -> Path:
        return self.directory / "models"

    def stages(self, release: str) -> list[str]:
        return [status.stage.value for status in self.said if status.release == release]

    def reasons(self, release: str) -> list[str]:
        return [status.reason for status in self.said if status.release == release and status.reason]

    def _reconciler(self) -> Reconciler:
        client = TrustClient(
            self.directory / "trust", root=self.world.repository.root_bytes, source=self.files, clock=self.clock
        )
        self.parts = Parts(
            device=self.device,
            models=self.models,
            bus=self.bus,
            trust=Trust(
                client,
                fleet=FLEET,
                hardware=self.hardware,
                runtimes=self.runtimes,
                unexecuted=self.unexecuted,
                again=self.files.again,
            ),
            journal=Journal(self.directory / "journal.json"),
            serving=self.serving,
            report=self._say,
            clock=self.clock,
            random=Random(1),
            patience=self.patience,
            preflight=self.preflight,
            neighbours=self.neighbours,
            masks=self.masks,
        )
        return Reconciler(self.parts)

    async def _say(self, status: UpdateStatus) -> None:
        self.said.append(status)


class UpdateWorld:
    """A coordinator that signs and distributes, on a broker in memory, and one device."""

    def __init__(self, directory: Path, until: Until) -> None:
        self.until = until
        self.clock = SystemClock()
        self.broker = MemoryBroker(allow=AccessList([Grant(each, FLEET, TENANT) for each in (DEVICE, *OTHERS)]))
        self.coordinator = self.broker.bus("coordinator")
        self.blobs = MemoryBlobs()
        self.server = ChunkServer(self.coordinator, self.blobs, clock=self.clock, gather_s=0, quiet_s=0.01)
        self.publisher = MetadataPublisher(self.coordinator, tenant=TENANT)
        self.keys = MemoryKeys()
        self.repository = Repository.create(directory / "tuf", keys=self.keys, tenant=TENANT, clock=self.clock)
        self.repository.add_fleet(FLEET)
        self.device = DeviceWorld(self, directory / "device")

    @property
    def parts(self) -> tuple[Any, ...]:
        return (self.coordinator, self.device.bus, self.server)

    def release(self, counter: int, data: bytes, *, model: str = "activity", hardware: str = "cpu") -> Release:
        """Sign a release of one variant."""
        return self.offer(counter, [self.variant(data, hardware=hardware)], model=model)

    def variant(self, data: bytes, *, name: str = "cpu.onnx", hardware: str = "cpu", **changes: Any) -> Variant:
        """Keep `data` for distribution and describe it."""
        variant = Variant(
            name=name,
            runtime=Runtime.ONNXRUNTIME,
            precision="fp32",
            hardware=[hardware],
            digest=self.blobs.put(data),
            size=len(data),
            chunks=split(data),
        )
        return structs.replace(variant, **changes)

    def offer(self, counter: int, variants: list[Variant], *, model: str = "activity") -> Release:
        """Sign a release."""
        schema = Schema(kind="classification", labels=["a", "b"], input_shape=[6, 100])
        release = Release(
            id=f"{model}-{counter}", model=model, counter=counter, schema=schema, variants=variants, created=1.0
        )
        release = sign_models(release, self.keys.signer(MODEL_SIGNING))
        self.repository.publish_release(release)
        return release

    async def desire(self, **releases: str) -> None:
        """Sign what the fleet should run, publish, and wait until the device's cache has it."""
        self.repository.set_desired(FleetDesired(fleet=FLEET, default=releases))
        await self.publish()

    async def challenge(self, challenger: Challenge | None, **releases: str) -> None:
        """As `desire`, for a device that should run `challenger` beside its release of the line `activity`."""
        challengers = {DEVICE: {"activity": challenger}} if challenger else {}
        self.repository.set_desired(FleetDesired(fleet=FLEET, default=releases, challengers=challengers))
        await self.publish()

    async def publish(self) -> None:
        version = self.repository.timestamp_version
        await self.publisher.publish(self.repository.files(), fleets=[FLEET], timestamp=version)
        stamp = dict(self.repository.files())["metadata/timestamp.json"]
        await self.until(lambda: sha256(self.device.files.read("metadata/timestamp.json") or b"") == sha256(stamp))
