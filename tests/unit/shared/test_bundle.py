"""Releases, their variants and chunks, and the signed desired state."""

import json

import msgspec
import pytest

from shared import bundle
from shared.bundle import Chunk, FleetDesired, Release, Runtime, Schema, Variant
from shared.errors import ContractError
from shared.ids import sha256

CONTENT = bytes(range(256)) * 5


def variant(name: str = "cpu-int8.onnx", *, size: int = 1280, hardware: tuple[str, ...] = ("cpu",)) -> Variant:
    data = (CONTENT * (size // len(CONTENT) + 1))[:size]
    return Variant(
        name=name, runtime=Runtime.ONNXRUNTIME, precision="int8", hardware=list(hardware),
        digest=sha256(data), size=size, chunks=bundle.split(data, 500),
    )  # fmt: skip


def release(*variants: Variant, **changes: object) -> Release:
    schema = Schema(kind="classification", labels=["sit", "walk"], input_shape=[6, 100])
    made = Release(
        id="activity-1", model="activity", counter=1, schema=schema, variants=list(variants or [variant()]), created=0.0
    )
    return msgspec.structs.replace(made, **changes)


def test_chunks_cover_the_bytes_in_order_and_the_last_is_shorter() -> None:
    assert [chunk.size for chunk in bundle.split(CONTENT, 500)] == [500, 500, 280]
    assert b"".join(bundle.pieces(CONTENT, 500)) == CONTENT
    assert bundle.split(CONTENT, 500)[1].digest == sha256(CONTENT[500:1000])


def test_a_manifest_comes_back_and_has_one_encoding() -> None:
    made = release(evaluation={"b": 1.0, "a": 0.5})
    assert bundle.decode_release(bundle.encode(made)) == made
    assert bundle.encode(made) == bundle.encode(release(evaluation={"a": 0.5, "b": 1.0}))
    assert bundle.digest_of(made) == sha256(bundle.encode(made))


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "activity-2"},
        {"model": "fashion"},
        {"counter": 0, "id": "activity-0"},
        {"id": "../activity-1"},
        {"id": "Activity-1", "model": "Activity"},
    ],
)
def test_a_release_whose_name_contradicts_it_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ContractError):
        bundle.decode_release(bundle.encode(release(**changes)))


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "../../etc/passwd"},
        {"name": ".hidden"},
        {"digest": "0" * 63},
        {"size": 0},
        {"size": 1279},
        {"size": bundle.MAX_VARIANT + 1},
        {"chunks": []},
        {"chunks": [Chunk("z" * 64, 1280)]},
    ],
)
def test_a_variant_that_contradicts_itself_is_refused(changes: dict[str, object]) -> None:
    broken = msgspec.structs.replace(variant(), **changes)
    with pytest.raises(ContractError):
        bundle.decode_release(bundle.encode(release(broken)))


def test_a_manifest_of_a_newer_peer_is_read() -> None:
    newer = json.loads(bundle.encode(release())) | {"licence": "Apache-2.0"}
    assert bundle.decode_release(json.dumps(newer).encode()) == release()


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[]", b"\xff", b"[" * 100_000], ids=["empty", "bare", "list", "binary", "deep"]
)
def test_what_is_no_document_is_refused(data: bytes) -> None:
    with pytest.raises(ContractError):
        bundle.decode_release(data)
    with pytest.raises(ContractError):
        bundle.decode_desired(data)


def test_a_device_runs_the_fleets_default_unless_it_has_an_entry() -> None:
    desired = FleetDesired(
        fleet="home",
        default={"activity": "activity-1", "detector": "detector-1"},
        devices={"canary": {"activity": "activity-2"}},
    )
    assert desired.for_device("other") == desired.default
    assert desired.for_device("canary") == {"activity": "activity-2", "detector": "detector-1"}
    assert bundle.decode_desired(bundle.encode(desired)) == desired


def test_the_smallest_variant_that_fits_is_chosen() -> None:
    small, large = variant(), variant("cpu-fp32.onnx", size=4000)
    jetson = variant("sm87.engine", size=10, hardware=("sm87",))
    offered = release(large, small, jetson)
    assert bundle.choose(offered, hardware=["cpu"], runtimes=[Runtime.ONNXRUNTIME]) == small
    assert bundle.choose(offered, hardware=["cpu", "sm87"], runtimes=[Runtime.ONNXRUNTIME]) == jetson
    assert bundle.choose(offered, hardware=["tpu"], runtimes=[Runtime.ONNXRUNTIME]) is None
    assert bundle.choose(offered, hardware=["cpu"], runtimes=[Runtime.TENSORRT]) is None


def test_the_preferred_runtime_comes_before_the_smaller_file() -> None:
    onnx = variant("a.onnx", size=10)
    engine = msgspec.structs.replace(
        variant("b.engine", hardware=("sm86",)), runtime=Runtime.TENSORRT_RTX, label=bundle.UNEXECUTED
    )
    offered, able = release(onnx, engine), [Runtime.TENSORRT_RTX, Runtime.ONNXRUNTIME]
    here = ["cpu", "sm86"]
    # nobody ran the engine, and the owner did not say that this device may be the first
    assert bundle.choose(offered, hardware=here, runtimes=able) == onnx
    assert bundle.choose(offered, hardware=here, runtimes=able, unexecuted=True) == engine
    assert bundle.choose(offered, hardware=["cpu", "sm89"], runtimes=able, unexecuted=True) == onnx


def test_a_schema_without_the_newer_parts_encodes_as_it_did_before_there_were_any() -> None:
    schema = Schema(kind="classification", labels=["a"], input_shape=[1])
    assert msgspec.json.encode(schema) == (
        b'{"kind":"classification","labels":["a"],"input_shape":[1],"mean":[],"std":[]}'
    )
