"""From a complete download to a release that serves, against hashing its bytes once.

Ours is what the agent does once the last chunk is there: the download on the disk, signed metadata read anew,
the manifest held against it, the model signature verified, the slot sealed and inspected, the bytes proven as they
are loaded, the high-water mark raised, the pointer renamed. The runtime is a twin that only holds the bytes: what a
real one takes to build a session is not ours. The peer streams SHA-256 over the same file.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from cloud.release.keys import MemoryKeys
from cloud.release.modelsig import MODEL_SIGNING, sign_models
from cloud.release.repository import Repository
from edge.inference.host import ModelHost
from edge.inference.memory_runtime import MemorySession
from edge.update.partial import PartialFile
from edge.update.slots import Slots
from shared.bundle import Release, Runtime, Schema, Variant, pieces, split
from shared.clock import SystemClock
from shared.ids import sha256
from shared.trust import DirectorySource, TrustClient
from shared.trust.slot import file_digest
from tests.benchmarks.figure import Figure, compare

SIZE = 200_000_000
"""Bytes."""

MODEL = "activity"


def measure(*, turns: int = 8, size: int = SIZE) -> Iterator[Figure]:
    """Seconds of each at their best, in turns; every turn is another release with other bytes.

    The best and not the median, because ours needs 200 MB of fresh memory and the peer one: a virtual machine whose
    host has taken free pages back gets them again in 0.03 s or in 0.6 s, which says nothing of either.
    """
    with tempfile.TemporaryDirectory() as temporary:
        device = _Device(Path(temporary), size)
        seconds = [device.turn(counter) for counter in range(1, turns + 2)][1:]  # one turn warms up
    yield compare(
        name="activation.seconds", ours=min(ours for ours, _ in seconds), peer=min(peer for _, peer in seconds),
        unit="s", better="lower", what_ours=f"complete download of {size >> 20} MiB to serving, every proof",
        what_peer="hashlib.sha256 over the file, once",
    )  # fmt: skip


class _Device:
    """A device and the coordinator whose releases it takes."""

    def __init__(self, directory: Path, size: int) -> None:
        self._random, self._size = np.random.default_rng(1), size
        self._keys, clock = MemoryKeys(), SystemClock()
        self._repository = Repository.create(directory / "tuf", keys=self._keys, tenant="bench", clock=clock)
        source = DirectorySource(directory / "tuf")
        self._trust = TrustClient(directory / "trust", root=self._repository.root_bytes, source=source, clock=clock)
        self._slots = Slots(directory / "models", MODEL)
        self._host = ModelHost(_held)

    def turn(self, counter: int) -> tuple[float, float]:
        """Seconds from the last chunk to serving, and of one hash."""
        data = self._random.bytes(self._size)
        release = self._release(counter, data)
        partial = PartialFile(self._slots.incoming(release.variants[0]), release.variants[0])
        for index, piece in enumerate(pieces(data)):
            partial.accept(index, piece)
        del data
        started = time.perf_counter()
        path = self._serve(release.id, partial)
        served = time.perf_counter()
        file_digest(path, size=self._size)
        hashed = time.perf_counter()
        self._slots.tidy()  # as the agent does, once the new release serves and has said so
        return served - started, hashed - served

    def _serve(self, name: str, partial: PartialFile) -> Path:
        file = partial.finish()
        self._trust.refresh()
        release = self._trust.release(name)
        variant = self._trust.admit(release, hardware={"cpu"}, runtimes={Runtime.ONNXRUNTIME})
        keys = self._trust.model_keys()
        slot, fact = self._slots.stage(file, release=release, variant=variant, keys=keys, digest=variant.digest)
        asyncio.run(self._host.activate(MODEL, fact.release, fact.variant, fact.path))
        self._trust.remember(release)
        self._slots.commit(slot)
        return fact.path

    def _release(self, counter: int, data: bytes) -> Release:
        variant = Variant(
            name="cpu-fp32.onnx",
            runtime=Runtime.ONNXRUNTIME,
            precision="fp32",
            hardware=["cpu"],
            digest=sha256(data),
            size=len(data),
            chunks=split(data),
        )
        release = Release(
            id=f"{MODEL}-{counter}",
            model=MODEL,
            counter=counter,
            schema=Schema(kind="classification", labels=["a", "b"], input_shape=[1]),
            variants=[variant],
            created=1.0,
        )
        release = sign_models(release, self._keys.signer(MODEL_SIGNING))
        self._repository.publish_release(release)
        return release


def _held(data: bytes) -> MemorySession:
    """A session that keeps the model's bytes, and says nothing of interest."""
    return MemorySession(lambda batch: [np.full((len(batch), 2), float(data[0]), np.float32)], input_shape=[1])
