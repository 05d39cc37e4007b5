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

from shared import bundle, enrolment, federation, messages
from shared.bundle import FleetDesired, Release, Runtime, Schema, Variant
from shared.codec import pack, unpack
from shared.ids import sha256
from shared.sketch import Sketch
from shared.tasks.compression import Kind
from shared.topics import Up

HOME = Path(__file__).parent / "golden"
AT = 1_767_225_600.5
SKETCH = bytes(range(16))
WEIGHTS = b"weights" * 100

TELEMETRY = messages.Telemetry(
    pipeline="wrist", model="activity", release="activity-2", since=AT, until=AT + 10, processed=100, errors=1,
    dropped=2, latency_ms=SKETCH, labelled=20, correct=18, phase="subject-3", labels_held=40,
    counts={"walk": 60, "sit": 40}, received=103, dropped_by={"late": 1, "still": 1},
    stalls=[messages.Stall(reason="silent", since=AT + 1, noticed=AT + 6, until=AT + 8, text="no packet came")],
    paces=[messages.Pace(at=AT + 2, share=0.5, reason="heat")],
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
SHADOW = messages.ShadowReport(
    pipeline="wrist", model="activity", release="activity-3", champion="activity-2", since=AT, until=AT + 10,
    inputs=90, skipped=10, errors=1, champion_errors=2, agreed=80, both_right=30, only_challenger=3, only_champion=2,
    both_wrong=5, confidence={-2: 40, 0: 50}, latency_ms=SKETCH, champion_latency_ms=SKETCH[::-1],
    classes={"walk": 60, "sit": 30}, champion_classes={"walk": 62, "sit": 28}, temperature_c=61.5, memory_mib=48.25,
)  # fmt: skip
VARIANT = Variant(
    name="cpu-int8.onnx", runtime=Runtime.ONNXRUNTIME, precision="int8", hardware=["cpu"],
    digest=sha256(WEIGHTS), size=len(WEIGHTS), chunks=bundle.split(WEIGHTS, 512), signature='{"mediaType":"…"}',
    needs=bundle.Needs(memory_mib=256, runtime_version="1.22"), label=bundle.UNEXECUTED,
)  # fmt: skip
TALLY = federation.FileTally(examples=10, correct=8, agreed=9, found=[5, 3], present=[6, 4])
PEM = "-----BEGIN EXAMPLE-----\nAA==\n-----END EXAMPLE-----\n"

EXAMPLES: dict[str, msgspec.Struct] = {
    "batch": messages.Batch(
        boot="3f2a", channel=Up.TELEMETRY, records=[messages.Record(seq=1, at=AT, body=pack(TELEMETRY))], dropped=3,
        taken_over=1,
    ),
    "ack": messages.Ack(boot="3f2a", channel=Up.TELEMETRY, seq=1),
    "telemetry": TELEMETRY,
    "drift-report": DRIFT,
    "update-status": STATUS,
    "shadow-report": SHADOW,
    "want": messages.Want(
        digest=sha256(WEIGHTS), indices=[0, 2], forms=["zstd", "delta"], base=sha256(WEIGHTS[1:])
    ),
    "desired": messages.Desired(timestamp=17),
    "command": messages.Command(id="c-1", name="report"),
    "release": Release(
        id="activity-2", model="activity", counter=2, created=AT, run="run-7", variants=[VARIANT],
        schema=Schema(
            kind="classification", labels=["sit", "walk"], input_shape=[2, 4], mean=[0.5, 0.25], std=[1, 2],
            signal=bundle.Signal(rate=50.0, channels=["x", "y"], units=["g", "degC"]),
            reading=bundle.Reading(
                head="interval", threshold=0.5, unit="h", scale=2.0, offset=1.0, low=0.0, high=100.0, coverage=0.9,
                tolerance=5.0, more={"floor": 0.25},
            ),
        ),
        evaluation={"accuracy.fp32": 0.875, "agreement.cpu-int8": 0.99},
    ),
    "fleet-desired": FleetDesired(
        fleet="home", default={"activity": "activity-1"}, devices={"wrist-1": {"activity": "activity-2"}},
        challengers={
            "wrist-2": {"activity": bundle.Challenge(release="activity-3", rollout="r-1", share=0.125, split=0.0625)}
        },
        masks={"*": {"gate": [{"box": [0.0, 0.0, 0.5, 1.0]}]}},
    ),
    "token": enrolment.Token(
        id="t-1", secret="c2VjcmV0", ca_sha256=sha256(b"ca"), url="https://192.0.2.7:8443", expires=int(AT)
    ),
    "enrol-request": enrolment.EnrolRequest(
        token="hl1.e30", csr=PEM, hardware=["cpu"], runtimes=["onnxruntime"], agent="0.1.0"
    ),
    "enrol-answer": enrolment.EnrolAnswer(
        device="wrist-1", fleet="home", tenant="acme", certificate=PEM, authority=PEM, root="{}",
        broker_host="192.0.2.7", broker_port=8883, superlink="192.0.2.7:9093", server_name="coordinator.example",
    ),
    "renew-request": enrolment.RenewRequest(certificate=PEM, csr=PEM, signature=SKETCH),
    "rescue-request": enrolment.RescueRequest(certificate=PEM, csr=PEM, signature=SKETCH),
    "renew-answer": enrolment.RenewAnswer(certificate=PEM),
    "refusal": enrolment.Refusal(code="refused", message="the token was used", hint="Ask for a new one."),
    "instruction": federation.Instruction(
        task="activity", labels=50, form={"head.bias": (7,)}, round=3, seed=7,
        epochs=2, batch_size=16, learning_rate=0.05,
        run="activity-run-3", model="activity", purpose="training", proximal=0.01, controlled=True, budget_s=2.5,
        local_parts=("head.",), compression=federation.Compression(kind=Kind.TOP_K, share=0.25),
    ),
    "condition": federation.Condition(on_battery=True, charge=62.5, heat_c=41.0, metered=True),
    "moments-answer": federation.MomentsAnswer(training=500, holdout=150, count=50_000, total=[1.5], square=[2.5]),
    "ranges-answer": federation.RangesAnswer(ranges={"relu_1": (0.0, 6.5)}),
    "judge-answer": federation.JudgeAnswer(training=TALLY, files={"cpu-int8.onnx": TALLY}, parity=1e-6),
}  # fmt: skip


def encode(message: Any) -> bytes:
    """Bytes as they travel: text for a token, JSON for documents, MessagePack for the rest."""
    match message:
        case enrolment.Token():
            return enrolment.encode_token(message).encode()
        case Release() | FleetDesired():
            return bundle.encode(message)
        case _ if type(message).__module__ == enrolment.__name__:
            return enrolment.to_json(message)
    return pack(message)


def decode(data: bytes, kind: type) -> Any:
    """What a receiver of today makes of `data`."""
    if kind is enrolment.Token:
        return enrolment.parse_token(data.decode())
    documents: dict[type, Callable[[bytes], Any]] = {
        Release: bundle.decode_release,
        FleetDesired: bundle.decode_desired,
    }
    if kind in documents:
        return documents[kind](data)
    return enrolment.from_json(data, kind) if kind.__module__ == enrolment.__name__ else unpack(data, kind)


def meaning(message: Any) -> Any:
    """Plain JSON values; bytes become base64."""
    return json.loads(msgspec.json.encode(message))


def hundred() -> Sketch:
    """A sketch of 0 to 99, few enough to be kept exactly: its bytes have no chance in them."""
    sketch = Sketch()
    sketch.update(range(100))
    return sketch


def versions() -> list[Path]:
    """Stored versions, oldest first."""
    return sorted(HOME.iterdir(), key=lambda directory: int(directory.name)) if HOME.exists() else []


def store(version: Path) -> None:
    """Write the examples as a new version."""
    version.mkdir(parents=True)
    for name, message in EXAMPLES.items():
        (version / f"{name}.bin").write_bytes(encode(message))
        (version / f"{name}.json").write_text(json.dumps(meaning(message), indent=1) + "\n")
    (version / "sketch.kll").write_bytes(hundred().to_bytes())


if __name__ == "__main__":
    store(HOME / str(len(versions()) + 1))
