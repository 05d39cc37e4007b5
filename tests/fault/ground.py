"""What signers and coordinator have made: releases, states of the fleet, blobs. Written once, read by every process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from random import Random

import msgspec

from cloud.release.keys import MemoryKeys
from cloud.release.modelsig import MODEL_SIGNING, sign_models
from cloud.release.repository import Repository
from shared.bundle import CHUNK_SIZE, Challenge, FleetDesired, Release, Runtime, Schema, Variant, split
from shared.clock import SystemClock
from shared.ids import device_id, fleet_id, sha256, tenant_id
from shared.trust.roots import model_keys, trusted_root

TENANT, FLEET, DEVICE = tenant_id("acme"), fleet_id("north"), device_id("device-a")
SHAPE, LABELS = [6, 100], ["a", "b"]
BROKEN = b"broken"
"""A model that begins so does not load."""

SICK = frozenset({"activity-6"})
"""Releases that load and answer, and fail in service."""

SIZE = 2 * CHUNK_SIZE + 50_000
"""Bytes of a release: three chunks."""


def model_bytes(seed: int, *, start: bytes = b"model:") -> bytes:
    return start + Random(seed).randbytes(SIZE - len(start))


ONE, TWO = model_bytes(1), model_bytes(2)
RELEASES: dict[str, tuple[bytes, str]] = {
    "activity-1": (ONE, "cpu"),
    "activity-2": (TWO, "cpu"),
    "activity-3": (TWO[: 2 * CHUNK_SIZE] + model_bytes(3)[:40_000], "cpu"),  # two of its chunks are the former's
    "activity-4": (model_bytes(4, start=BROKEN), "cpu"),
    "activity-5": (model_bytes(5), "gpu"),  # not for this device
    "activity-6": (model_bytes(7), "cpu"),
    "gesture-1": (model_bytes(6), "cpu"),
}
"""Release → its bytes, and the hardware it is for."""


def wanted(challenger: str = "", **releases: str) -> FleetDesired:
    challengers = {DEVICE: {"activity": Challenge(release=challenger)}} if challenger else {}
    return FleetDesired(fleet=FLEET, default=releases, challengers=challengers)


STATES = {
    "one": wanted(activity="activity-1"),
    "two": wanted(activity="activity-2"),
    "three": wanted(activity="activity-3"),
    "broken": wanted(activity="activity-4"),
    "foreign": wanted(activity="activity-5"),
    "pair": wanted(activity="activity-2", gesture="gesture-1"),
    "shadow": wanted(activity="activity-1", challenger="activity-2"),
    "promoted": wanted(activity="activity-2"),
    "withdrawn": wanted(activity="activity-1"),
    "sick": wanted(activity="activity-6"),
    "broken shadow": wanted(activity="activity-1", challenger="activity-4"),
}
"""What the fleet is to run, by name; signed in this order, so that each is newer than those before it."""


@dataclass(frozen=True)
class Ground:
    """A directory that nobody writes any more."""

    directory: Path

    @cached_property
    def root(self) -> bytes:
        return (self.directory / "root.json").read_bytes()

    @cached_property
    def keys(self) -> dict[str, str]:
        """The model keys that the first root pins."""
        return model_keys(trusted_root(first=self.root, least=0))

    @cached_property
    def releases(self) -> dict[str, Release]:
        return msgspec.json.decode((self.directory / "releases.json").read_bytes(), type=dict[str, Release])

    @cached_property
    def digests(self) -> set[str]:
        """Of every model file that was signed."""
        return {variant.digest for release in self.releases.values() for variant in release.variants}

    def signed(self, state: str) -> Path:
        """The repository as it is when the fleet is to run `state`."""
        return self.directory / "signed" / state

    def blobs(self) -> list[bytes]:
        return [path.read_bytes() for path in sorted((self.directory / "blobs").iterdir())]


def make_ground(
    directory: Path, releases: Mapping[str, tuple[bytes, str]] = RELEASES, states: Mapping[str, FleetDesired] = STATES
) -> Ground:
    """Sign everything."""
    keys, clock = MemoryKeys(), SystemClock()
    repository = Repository.create(directory / "tuf", keys=keys, tenant=TENANT, clock=clock)
    repository.add_fleet(FLEET)
    (directory / "root.json").write_bytes(repository.root_bytes)
    signed = {}
    for name, (data, hardware) in releases.items():
        signed[name] = sign_models(unsigned(name, data, hardware), keys.signer(MODEL_SIGNING))
        repository.publish_release(signed[name])
        _put(directory / "blobs" / sha256(data), data)
    (directory / "releases.json").write_bytes(msgspec.json.encode(signed))
    ground = Ground(directory)
    for state, desired in states.items():
        repository.set_desired(desired)
        for name, data in repository.files():
            _put(ground.signed(state) / name, data)
    return ground


def unsigned(name: str, data: bytes, hardware: str) -> Release:
    model, _, counter = name.rpartition("-")
    variant = Variant(
        name="cpu.onnx",
        runtime=Runtime.ONNXRUNTIME,
        precision="fp32",
        hardware=[hardware],
        digest=sha256(data),
        size=len(data),
        chunks=split(data),
    )
    schema = Schema(kind="classification", labels=LABELS, input_shape=SHAPE)
    return Release(id=name, model=model, counter=int(counter), schema=schema, variants=[variant], created=1.0)


def _put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
