"""Both ends of the wire as they were in its third version, before shadows, forms of chunks and needs of variants.

Written down from the stored bytes of that version, with nothing of today's: what this file says does not follow when
the code changes.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

CHUNK = 262_144
EPOCH = "00000000003f2a01"


class Variant(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    runtime: str
    precision: str
    hardware: list[str]
    digest: str
    size: int
    chunks: list[tuple[str, int]]
    signature: str = ""


class Release(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    model: str
    counter: int
    schema: dict[str, Any]
    variants: list[Variant]
    created: float
    run: str = ""
    evaluation: dict[str, float] = {}
    format: int = 1


class FleetDesired(msgspec.Struct, frozen=True, kw_only=True):
    fleet: str
    default: dict[str, str] = {}
    devices: dict[str, dict[str, str]] = {}
    format: int = 1


class Ack(msgspec.Struct, frozen=True, kw_only=True):
    boot: str
    channel: str
    seq: int


class Agent:
    """Follows one model line by what lies on the broker, and tells of it."""

    def __init__(self, bus: Any, *, device: str, tenant: str, fleet: str) -> None:
        self._bus = bus
        self._device = device
        self._fleet = fleet
        self._prefix = f"hl/1/tuf/{tenant}/"
        self.files: dict[str, bytes] = {}
        self.acknowledged: list[Ack] = []
        self.chunks: dict[int, bytes] = {}
        bus.on(self._prefix + "#", self._file)
        bus.on(f"hl/1/d/{device}/down/ack", self._ack)

    async def _file(self, delivery: Any) -> None:
        self.files[delivery.topic.removeprefix(self._prefix)] = delivery.payload

    async def _ack(self, delivery: Any) -> None:
        self.acknowledged.append(msgspec.msgpack.decode(delivery.payload, type=Ack))

    async def _chunk(self, delivery: Any) -> None:
        index = int(delivery.topic.rsplit("/", 1)[1])
        self.chunks[index] = delivery.payload

    def desired(self) -> str | None:
        """The release that the newest desired state names; None before there is one."""
        found = [data for name, data in self.files.items() if name.startswith(f"targets/fleets/{self._fleet}/")]
        states = [msgspec.json.decode(data, type=FleetDesired) for data in found]
        wanted = [{**state.default, **state.devices.get(self._device, {})}.get("activity", "") for state in states]
        return wanted[-1] if wanted else None

    def release(self, name: str) -> Release | None:
        found = [data for path, data in self.files.items() if path.startswith(f"targets/releases/{name}/")]
        return msgspec.json.decode(found[-1], type=Release) if found else None

    async def fetch(self, release: Release) -> bytes:
        """Ask for every chunk, until each has come with the digest that the manifest gives it."""
        variant = release.variants[0]
        self._bus.on(f"hl/1/blob/{variant.digest}/+", self._chunk)
        while wrong := [index for index in range(len(variant.chunks)) if not self._right(variant, index)]:
            want = msgspec.msgpack.encode({"digest": variant.digest, "indices": wrong})
            await self._bus.publish(f"hl/1/d/{self._device}/up/want", want)
            await asyncio.sleep(0.05)
        data = b"".join(self.chunks[index] for index in range(len(variant.chunks)))
        assert hashlib.sha256(data).hexdigest() == variant.digest
        return data

    async def say(self, release: str, stage: str) -> None:
        status = {
            "model": "activity", "release": release, "stage": stage, "slot": "A", "variant": "cpu.onnx", "reason": "",
            "received": 1, "total": 1, "at": 1.5,
        }  # fmt: skip
        record = {"seq": len(self.acknowledged) + 1, "at": 1.5, "body": msgspec.msgpack.encode(status)}
        batch = {"boot": EPOCH, "channel": "update", "records": [record], "dropped": 0, "taken_over": 0}
        await self._bus.publish(f"hl/1/d/{self._device}/up/update", msgspec.msgpack.encode(batch))

    def _right(self, variant: Variant, index: int) -> bool:
        digest, size = variant.chunks[index]
        data = self.chunks.get(index, b"")
        return (len(data), hashlib.sha256(data).hexdigest()) == (size, digest)


class Coordinator:
    """Answers for chunks as it did: fixed pieces, plain, on the plain topic."""

    def __init__(self, bus: Any, blobs: Mapping[str, bytes]) -> None:
        self._bus = bus
        self._blobs = blobs
        self.asked: list[dict[str, Any]] = []
        bus.on("hl/1/d/+/up/want", self._want)

    async def run(self) -> None:
        await asyncio.Event().wait()

    async def _want(self, delivery: Any) -> None:
        want = msgspec.msgpack.decode(delivery.payload)
        self.asked.append(want)
        blob = self._blobs.get(want["digest"], b"")
        for index in want["indices"]:
            if piece := blob[index * CHUNK : (index + 1) * CHUNK]:
                await self._bus.publish(f"hl/1/blob/{want['digest']}/{index}", piece)
