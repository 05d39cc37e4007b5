"""Every parser of foreign bytes, with honest inputs to begin from: what devices, operators and thieves send."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
from paho.mqtt.exception import MalformedPacket

from shared.codec import pack, unpack
from shared.errors import ContractError
from shared.ids import sha256
from shared.messages import Ack, Batch, Command, Desired, DriftReport, Record, Stage, Telemetry, UpdateStatus, Want
from shared.sketch import Sketch
from shared.topics import Up
from tests.fuzz import proofs, serving
from tests.fuzz.runner import Target, text

AT = 1_767_225_600.0
SKETCH = Sketch([float(value) for value in range(300)]).to_bytes()

TELEMETRY = Telemetry(
    pipeline="p", model="activity", release="activity-1", since=1.0, until=2.0, processed=5, errors=0,
    latency_ms=SKETCH, counts={"walk": 3},
)  # fmt: skip
REPORT = DriftReport(
    pipeline="p", model="activity", release="activity-1", since=1.0, until=2.0, count=300,
    features={"ch0.mean": SKETCH, "ch0.std": SKETCH}, confidence=SKETCH, classes={"walk": 200, "run": 100},
)  # fmt: skip
STATUS = UpdateStatus(model="activity", release="activity-1", stage=Stage.STAGED, received=10, total=20)
MESSAGES: tuple[msgspec.Struct, ...] = (
    TELEMETRY, REPORT, STATUS, Want(digest="a" * 64, indices=[0, 5, 9], forms=["z", "d"], base="b" * 64),
    Desired(timestamp=7),    Command(id="c1", name="report"), Ack(boot="0" * 16, channel=Up.DRIFT, seq=9),
    Batch(boot="0" * 16, channel=Up.TELEMETRY, records=[Record(seq=n, at=AT, body=pack(TELEMETRY)) for n in (1, 2)]),
)  # fmt: skip


def targets(place: Path) -> list[Target]:
    """All of them; `place` is an empty directory for those that need files."""
    return [
        *_messages(),
        *_documents(),
        *_doors(place),
        *_taps(),
        *_relays(),
        *serving.targets(place),
        *proofs.targets(place),
    ]


def _messages() -> list[Target]:
    from cloud.drift.detect import DriftState, observe
    from cloud.drift.policy import Policy
    from cloud.ingest.contract import arrival
    from shared.bus.packets import read_publish, write_publish
    from shared.forms import Piece, decode, encode
    from shared.topics import all_up, parse_any_chunk, parse_up, up

    found = []
    for message in MESSAGES:
        kind = type(message)
        parse: Callable[[bytes], object] = lambda data, kind=kind: unpack(data, kind)  # noqa: E731
        found.append(Target(name=f"message-{kind.__name__.lower()}", parse=parse, seeds=[pack(message)]))

    published = write_publish("hl/1/d/watch-1/up/drift", b"payload", qos=1, retain=False, number=7)
    packets = [published[2:], b"\0\1t\0\7\x09\x0b\x05\x26\0\1a\0\1bpayload", b"\0\1t\0\7\x05\x02\0\0\0\1payload"]

    def packet(data: bytes) -> None:
        try:
            read_publish(0x32, data)
        except MalformedPacket as error:
            raise ContractError(str(error)) from error

    def batch(data: bytes) -> None:
        taken = arrival("hl/1/d/watch-1/up/telemetry", data)
        for record in taken.batch.records:
            unpack(record.body, Telemetry)

    def judged(data: bytes) -> None:
        state = DriftState(device="d", model="activity", release="activity-1")
        state, _ = observe(state, msgspec.structs.replace(REPORT, reference=True), Policy(), at=AT)
        observe(state, unpack(data, DriftReport), Policy(), at=AT)

    def topic(name: str) -> None:
        parse_up(name) if "blob" not in name else parse_any_chunk(name)

    weights, moved = bytes(range(256)) * 8, bytes(byte + 1 & 255 for byte in range(256)) * 8

    def formed(data: bytes) -> None:
        assert len(decode(data, size=2048, read=lambda offset, size: weights[offset : offset + size])) == 2048

    def sketch(data: bytes) -> None:
        read = Sketch.from_bytes(data)
        read.merge(Sketch.from_bytes(SKETCH))
        read.quantiles([0.5, 0.99])

    names = [up("watch-1", Up.WANT).encode(), all_up(Up.DRIFT).encode(), f"hl/1/blob/{'a' * 64}/12".encode()]
    names.append(f"hl/1/blob/{'a' * 64}/d-{'b' * 16}/12".encode())
    forms = [encode(moved), encode(moved, base=Piece(0, weights)), encode(SKETCH[:2048].ljust(2048, b"x"))]
    return [
        *found,
        Target(name="mqtt-publish", parse=packet, seeds=packets),
        Target(name="telemetry-batch", parse=batch, seeds=[pack(MESSAGES[-1])]),
        Target(name="drift-report-judged", parse=judged, seeds=[pack(REPORT)], share=0.5),
        Target(name="topics", parse=text(topic), seeds=names),
        Target(name="chunk-form", parse=formed, seeds=forms),
        Target(name="sketch", parse=sketch, seeds=[SKETCH, Sketch([1.0, 2.0]).to_bytes(), Sketch().to_bytes()]),
    ]


def _documents() -> list[Target]:
    from cloud.models.line import decode_line
    from cloud.training.phases import _check_judgement, _check_moments
    from shared import api
    from shared.audit import Anchor, Line, Witness, anchor_line, export_line, read_anchors, read_export, seal, verify
    from shared.audit import AuditRow as Row
    from shared.bundle import FleetDesired, decode_desired, decode_release, encode
    from shared.calibration import check_ranges
    from shared.federation import FileTally, JudgeAnswer, MomentsAnswer, RangesAnswer
    from shared.tasks import adapter
    from tests.publishing import make_release

    rows = [seal(Row(number=1, at=AT, actor="host", action="a", subject="s", previous="0" * 64))]
    rows.append(seal(Row(number=2, at=AT, actor="host", action="b", subject="s", previous=rows[0].digest)))
    anchor = Anchor(number=1, digest=rows[0].digest, at=AT)
    export = b"".join(map(export_line, [*(Line(row=row) for row in rows), Line(witness=Witness(anchors=[anchor]))]))

    trees: Any = adapter("activity-trees")

    def booster(data: bytes) -> None:
        trees.read_trees(data, trees=2, greatest=1.0)

    def exported(data: bytes) -> None:
        lines = list(read_export(data.splitlines()))
        verify(
            [line.row for line in lines if line.row],
            [a for line in lines if line.witness for a in line.witness.anchors],
        )

    line = {
        "name": "activity", "task": "activity", "fleets": ["wards"], "canaries": ["w-1"], "waves": [0.5, 1.0],
        "schema": {"kind": "classification", "labels": ["a"], "input_shape": [6, 100]}, "soak_s": 5, "rounds": 2,
        "retrain": {"labels": 20},
    }  # fmt: skip
    tally = FileTally(examples=4, correct=3, agreed=4, found=[2, 1], present=[2, 2])
    answers: tuple[tuple[Any, Callable[[Any], object]], ...] = (
        (MomentsAnswer(training=5, holdout=2, count=500, total=[1.0, 2.0], square=[3.0, 4.0]),
         lambda answer: _check_moments(answer, 2)),
        (RangesAnswer(ranges={"x": (0.0, 1.0), "y": (-1.0, 3.0)}), lambda answer: check_ranges(answer.ranges)),
        (JudgeAnswer(training=tally, files={"a.onnx": tally}, parity=0.1),
         lambda answer: _check_judgement(answer, {"a.onnx"}, 2)),
    )  # fmt: skip
    bodies = (
        api.TokenRequest(device="d"), api.Revocation(reason="stolen"), api.RunRequest(model="m", labels={"d": 3}),
        api.RolloutRequest(release="m-1", waves=[0.5]),
        api.ReleaseRequest(model="m", schema=make_release(1).schema,
                           files=[api.ImportedFile(name="a.onnx", digest="a" * 64, precision="fp32")]),
    )  # fmt: skip
    return [
        Target(name="release-manifest", parse=decode_release, seeds=[encode(make_release(3)), encode(make_release(1))]),
        Target(name="fleet-desired", parse=decode_desired,
               seeds=[encode(FleetDesired(fleet="lab", default={"m": "m-1"}, devices={"d": {"m": "m-2"}}))]),
        Target(name="model-line", parse=decode_line, seeds=[json.dumps(line).encode()]),
        Target(name="tree-booster", parse=booster, seeds=[trees.write_trees(trees.shape.empty(2))]),
        Target(name="audit-export", parse=exported, seeds=[export], share=0.7),
        Target(name="audit-anchors", parse=read_anchors, seeds=[anchor_line(anchor) * 3]),
        *(_answer(answer, check) for answer, check in answers),
        *(_body(document) for document in bodies),
    ]  # fmt: skip


def _answer(answer: msgspec.Struct, check: Callable[[Any], object]) -> Target:
    kind = type(answer)
    return Target(
        name=f"answer-{kind.__name__.lower()}", parse=lambda data: check(unpack(data, kind)), seeds=[pack(answer)]
    )


def _body(document: msgspec.Struct) -> Target:
    """A body of the API, read as the routes read it."""
    from cloud.api.bodies import body

    read = body(type(document))

    class Call:
        def __init__(self, data: bytes) -> None:
            self._data = data

        async def stream(self) -> Any:
            for start in range(0, len(self._data), 7_000):
                yield self._data[start : start + 7_000]

    def parse(data: bytes) -> None:
        try:
            read(Call(data)).send(None)
        except StopIteration:
            return

    return Target(name=f"body-{type(document).__name__.lower()}", parse=parse, seeds=[msgspec.json.encode(document)])


def _doors(place: Path) -> list[Target]:
    from cloud.training.doors import DEVICE_CALLS, HEALTH, Doors
    from edge.training.labels import LabelInbox

    token, reached = "t" * 32, []

    async def inner(scope: Any, _receive: Any, _send: Any) -> None:
        reached.append(scope)

    async def send(_message: Any) -> None: ...

    doors = Doors(inner, token=token)

    def door(data: bytes) -> None:
        """First line: method and path; then headers; then whatever."""
        head, _, rest = data.partition(b"\n")
        method, _, path = head.decode("latin-1").partition(" ")
        headers = [
            (name.lower(), value)
            for name, found, value in (line.partition(b":") for line in rest.split(b"\n"))
            if found
        ]
        reached.clear()
        with suppress(StopIteration):
            doors({"type": "http", "method": method, "path": path, "headers": headers}, None, send).send(None)
        open_to_all = path in {*DEVICE_CALLS, HEALTH} or (b"authorization", b"Bearer " + token.encode()) in headers
        assert open_to_all or not reached, f"{method} {path} was let through"

    calls = [f"POST {path}\ncontent-length:12\nhost:x\n".encode() for path in sorted(DEVICE_CALLS)]
    calls.append(b"POST /v1/control/start-run\nauthorization:Bearer " + b"u" * 32 + b"\n")
    inbox = LabelInbox(place / "labels")
    inbox.directory.mkdir(parents=True)

    def labels(data: bytes) -> None:
        (inbox.directory / "a.jsonl").write_bytes(data)
        inbox._taken.clear()
        inbox.read()

    label = b'{"task":"activity","id":"wrist:117","y":3,"train":true}\n'
    return [
        Target(name="superlink-door", parse=door, seeds=calls),
        Target(name="label-file", parse=labels, seeds=[label * 3, label + b"half"], share=0.3),
    ]


def _relays() -> list[Target]:
    from edge.relay import frames

    def request(data: bytes) -> None:
        length = frames.check_length(data[: frames.LENGTH], most=frames.MAX_REQUEST)
        body = data[frames.LENGTH :][:length]
        digests = frames.decode_request(body)
        assert frames.encode_request(digests)[frames.LENGTH :] == body

    def answer(data: bytes) -> None:
        length = frames.check_length(data[: frames.LENGTH], most=1 + (256 << 10))
        has, chunk = frames.decode_answer(data[frames.LENGTH :][:length])
        assert chunk == b"" or has is frames.Has.HERE

    asked = [frames.encode_request([sha256(bytes([n])) for n in range(count)]) for count in (1, 3, frames.MOST)]
    given = [frames.answer_head(has) for has in frames.Has] + [frames.answer_head(frames.Has.HERE, 300) + b"c" * 300]
    return [
        Target(name="relay-request", parse=request, seeds=asked, share=0.5),
        Target(name="relay-answer", parse=answer, seeds=given, share=0.5),
    ]


def _taps() -> list[Target]:
    from fleet.decode import decode

    def tapped(data: bytes) -> None:
        """First line: the topic."""
        topic, _, payload = data.partition(b"\n")
        decode(topic.decode("utf-8", "replace"), payload)

    ups = [(f"hl/1/d/w-1/up/{channel}", body) for channel, body in (("drift", REPORT), ("update", STATUS))]
    batches = [
        (
            topic,
            Batch(boot="0" * 16, channel=Up(topic.rpartition("/")[2]), records=[Record(seq=1, at=AT, body=pack(body))]),
        )
        for topic, body in ups
    ]
    heard = [(topic, pack(message)) for topic, message in [*batches, ("hl/1/d/w-1/up/want", MESSAGES[3])]]
    heard += [("hl/1/f/lab/desired", pack(MESSAGES[4])), ("hl/1/d/w-1/down/ack", pack(MESSAGES[6]))]
    heard += [("hl/1/tuf/acme/metadata/timestamp.json", b'{"signed":{"_type":"timestamp","version":3}}')]
    return [
        Target(name="tap", parse=tapped, seeds=[topic.encode() + b"\n" + payload for topic, payload in heard]),
    ]
