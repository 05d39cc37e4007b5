"""One example of every message and document, and the bytes that each version of the wire put them into.

`golden/<version>/<name>.bin` is what a peer of that version sends; `<name>.json` is what it means by it.
Stored files are never edited. When a message gains an optional field, fill it in below and run
`python -m tests.wire.golden`: the examples' new bytes become the next version, beside the old ones.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from shared import bundle, messages
from shared.bundle import FleetDesired, Release, Runtime, Schema, Variant
from shared.codec import pack, unpack
from shared.ids import sha256
from shared.topics import Up

HOME = Path(__file__).parent / "golden"
AT = 1_767_225_600.5
SKETCH = bytes(range(16))
WEIGHTS = b"weights" * 100

TELEMETRY = messages.Telemetry(
    pipeline="wrist", model="activity", release="activity-2", since=AT, until=AT + 10, processed=100, errors=1,
    dropped=2, latency_ms=SKETCH, labelled=20, correct=18, phase="subject-3", labels_held=40,
    counts={"walk": 60, "sit": 40},
)  # fmt: skip
DRIFT = messages.DriftReport(
    pipeline="wrist", model="activity", release="activity-2", since=AT, until=AT + 12, count=120,
    features={"ch0.mean": SKETCH, "ch0.std": SKETCH[::-1]}, confidence=SKETCH, classes={"walk": 70, "sit": 50},
    reference=True,
)  # fmt: skip
STATUS = messages.UpdateStatus(
    model="activity", release="activity-2", stage=messages.Stage.REFUSED, slot="B", variant="cpu-int8.onnx",
    reason="trust: the digest of chunk 3 is wrong", received=262_144, total=1_000_000, at=AT,
)  # fmt: skip
VARIANT = Variant(
    name="cpu-int8.onnx", runtime=Runtime.ONNXRUNTIME, precision="int8", hardware=["cpu"],
    digest=sha256(WEIGHTS), size=len(WEIGHTS), chunks=bundle.split(WEIGHTS, 512),
)  # fmt: skip

EXAMPLES: dict[str, msgspec.Struct] = {
    "batch": messages.Batch(
        boot="3f2a", channel=Up.TELEMETRY, records=[messages.Record(seq=1, at=AT, body=pack(TELEMETRY))], dropped=3
    ),
    "ack": messages.Ack(boot="3f2a", channel=Up.TELEMETRY, seq=1),
    "telemetry": TELEMETRY,
    "drift-report": DRIFT,
    "update-status": STATUS,
    "want": messages.Want(digest=sha256(WEIGHTS), indices=[0, 2]),
    "desired": messages.Desired(timestamp=17),
    "command": messages.Command(id="c-1", name="report"),
    "release": Release(
        id="activity-2", model="activity", counter=2, created=AT, run="run-7", variants=[VARIANT],
        schema=Schema(kind="classification", labels=["sit", "walk"], input_shape=[2, 4], mean=[0.5, 0.25], std=[1, 2]),
        evaluation={"accuracy.fp32": 0.875, "agreement.cpu-int8": 0.99},
    ),
    "fleet-desired": FleetDesired(
        fleet="home", default={"activity": "activity-1"}, devices={"wrist-1": {"activity": "activity-2"}}
    ),
}  # fmt: skip

_DOCUMENTS: dict[type, Callable[[bytes], Any]] = {Release: bundle.decode_release, FleetDesired: bundle.decode_desired}


def encode(message: Any) -> bytes:
    """Bytes on the wire: canonical JSON for signed documents, MessagePack for the rest."""
    return bundle.encode(message) if type(message) in _DOCUMENTS else pack(message)


def decode(data: bytes, kind: type) -> Any:
    """What a receiver of today makes of `data`."""
    return _DOCUMENTS[kind](data) if kind in _DOCUMENTS else unpack(data, kind)


def meaning(message: Any) -> Any:
    """Plain JSON values; bytes become base64."""
    return json.loads(msgspec.json.encode(message))


def versions() -> list[Path]:
    """Stored versions, oldest first."""
    return sorted(HOME.iterdir(), key=lambda directory: int(directory.name)) if HOME.exists() else []


def store(version: Path) -> None:
    """Write the examples as a new version."""
    version.mkdir(parents=True)
    for name, message in EXAMPLES.items():
        (version / f"{name}.bin").write_bytes(encode(message))
        (version / f"{name}.json").write_text(json.dumps(meaning(message), indent=1) + "\n")


if __name__ == "__main__":
    store(HOME / str(len(versions()) + 1))
