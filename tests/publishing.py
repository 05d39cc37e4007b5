"""A tenant's real repository with keys in memory, a device that reads it, and a thief who has some of the keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tuf.api.metadata import Metadata

from cloud.release import MemoryKeys, Repository
from cloud.release.modelsig import MODEL_SIGNING, sign_models
from shared.bundle import FleetDesired, Release, Runtime, Schema, Variant, split
from shared.clock import VirtualClock
from shared.ids import sha256
from shared.trust import MemorySource, TrustClient
from shared.trust.modelsig import unsigned_digest

FLEET = "lab"
MODEL_BYTES = b"weights" * 1000
CPU = {"hardware": {"cpu"}, "runtimes": {Runtime.ONNXRUNTIME}}
"""What the device under test is."""


def make_release(counter: int, *, model: str = "activity", data: bytes = MODEL_BYTES, hardware: str = "cpu") -> Release:
    variant = Variant(
        name="cpu-int8.onnx",
        runtime=Runtime.ONNXRUNTIME,
        precision="int8",
        hardware=[hardware],
        digest=sha256(data),
        size=len(data),
        chunks=split(data, 4096),
    )
    schema = Schema(kind="classification", labels=["still", "walk"], input_shape=[6, 100])
    return Release(
        id=f"{model}-{counter}", model=model, counter=counter, schema=schema, variants=[variant], created=1.5
    )


class Publisher:
    """The coordinator's side."""

    def __init__(self, directory: Path, *, tenant: str = "demo", keys: Any = None) -> None:
        self.clock = VirtualClock()
        self.keys = MemoryKeys() if keys is None else keys
        self.directory = directory
        self.repository = Repository.create(directory, keys=self.keys, tenant=tenant, clock=self.clock)
        self.repository.add_fleet(FLEET)
        self._signed: dict[str, Release] = {}

    def ship(self, counter: int, **changes: Any) -> Release:
        """Publish a release and make the fleet want it."""
        release = self.signed(make_release(counter, **changes))
        self.repository.publish_release(release)
        self.repository.set_desired(FleetDesired(fleet=FLEET, default={release.model: release.id}))
        return release

    def signed(self, release: Release) -> Release:
        """With the signatures of the model key, as the publication gate makes them: once, for each time differs."""
        name = unsigned_digest(release)
        if name not in self._signed:
            self._signed[name] = sign_models(release, self.keys.signer(MODEL_SIGNING))
        return self._signed[name]

    def files(self) -> dict[str, bytes]:
        return dict(self.repository.files())

    def device(self, directory: Path, files: dict[str, bytes]) -> TrustClient:
        """A device that sees `files`, as they are at each read."""
        root = self.repository.root_bytes
        return TrustClient(directory, root=root, source=MemorySource(files), clock=self.clock)


class Forger:
    """Alters files and signs them again with whatever keys were stolen."""

    def __init__(self, files: dict[str, bytes], keys: MemoryKeys, *stolen: str) -> None:
        self.files = dict(files)
        self._keys = keys
        self._stolen = stolen

    def current(self, role: str) -> tuple[str, Metadata[Any]]:
        """Name and content of a role's newest file."""
        names = [name for name in self.files if name.endswith(f".{role}.json") or name == f"metadata/{role}.json"]
        name = max(names, key=lambda name: int(name.removeprefix("metadata/").split(".")[0]) if len(names) > 1 else 0)
        return name, Metadata[Any].from_bytes(self.files[name])

    def sign(self, metadata: Metadata[Any]) -> bytes:
        """Sign with all that was stolen, and with nothing else."""
        metadata.signatures.clear()
        for name in self._stolen:
            metadata.sign(self._keys.signer(name), append=True)
        return metadata.to_bytes()

    def target(self, path: str, data: bytes) -> None:
        """Serve `data` under the name a consistent snapshot gives it."""
        parent, _, name = path.rpartition("/")
        self.files[f"targets/{parent}/{sha256(data)}.{name}"] = data


def accept(client: TrustClient) -> Release:
    """What an agent does: refresh, see what is wanted, prove and admit it, remember it."""
    client.refresh()
    wanted = client.desired(FLEET).for_device("wrist-1")
    release = client.release(wanted["activity"])
    client.admit(release, **CPU)
    client.remember(release)
    return release
