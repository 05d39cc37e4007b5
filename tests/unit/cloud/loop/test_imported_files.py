"""What an operator may bring as a model, told by its content."""

import io
import zipfile

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.loop.imports import MAX_MEMORY_MIB, VERSION, describe
from cloud.store.blobs import FileBlobs
from edge.update.obstacles import at_least
from shared.api import ImportedFile, ReleaseRequest
from shared.bundle import UNEXECUTED, Needs, Runtime, Schema
from shared.engine import Notes, pack_engine
from shared.errors import RefusedError
from tests.models import classifier

SCHEMA = Schema(kind="classification", labels=["a", "b"], input_shape=[3, 10])
WEIGHTS = (55).to_bytes(8, "little") + b'{"w":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}  ' + bytes(4)


@pytest.fixture
def bring(tmp_path):
    blobs = FileBlobs(tmp_path / "blobs")

    def variants(data, runtime=Runtime.ONNXRUNTIME, **needs):
        file = ImportedFile(name="cpu-fp32.onnx", digest=blobs.put(data), precision="fp32", runtime=runtime, **needs)
        return describe(blobs, ReleaseRequest(model="street", schema=SCHEMA, files=[file]))

    return variants


def archive():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as opened:
        opened.writestr("model.pkl", b"x")
    return buffer.getvalue()


def test_a_model_is_described(bring):
    (variant,) = bring(classifier())
    assert variant.size == len(classifier())


@pytest.mark.parametrize("data", [archive(), b"\x80\x04.", b"", b"onnx" * 100], ids=["zip", "pickle", "empty", "text"])
def test_a_file_that_is_no_model_is_refused_before_anybody_signs_it(bring, data):
    with pytest.raises(RefusedError, match=r"cpu-fp32\.onnx is no model") as caught:
        bring(data)
    assert "ONNX" in caught.value.hint


def test_weights_alone_are_for_no_runtime_that_runs_graphs(bring):
    for runtime in (Runtime.ONNXRUNTIME, Runtime.OPENVINO):
        with pytest.raises(RefusedError, match="weights alone"):
            bring(WEIGHTS, runtime)


def engine(sm=86):
    notes = Notes(runtime=Runtime.TENSORRT_RTX, precision="fp16", sm=sm, version="1.7", source="0" * 64)
    probe = np.zeros((2, 2), np.float32)
    return pack_engine(b"vtrt", notes, inputs=probe, answers=[probe])


def test_an_engine_brings_its_proof_and_its_label(bring):
    (variant,) = bring(engine(), Runtime.TENSORRT_RTX, hardware=["sm86"], label=UNEXECUTED)
    assert variant.label == UNEXECUTED
    (compared,) = bring(engine(), Runtime.TENSORRT_RTX, hardware=["sm86"])
    assert compared.label == ""


@pytest.mark.parametrize(
    ("data", "runtime", "said", "why"),
    [
        (WEIGHTS, Runtime.TENSORRT_RTX, {"hardware": ["sm86"]}, "no engine with its proof"),
        (engine(89), Runtime.TENSORRT_RTX, {"hardware": ["sm86"]}, "was built for tensorrt-rtx on sm89"),
        (engine(), Runtime.TENSORRT, {"hardware": ["sm86"]}, "was built for tensorrt-rtx on sm86"),
        (engine(), Runtime.TENSORRT_RTX, {"hardware": ["cpu", "sm86"]}, "was built for"),
        (classifier(), Runtime.ONNXRUNTIME, {"label": UNEXECUTED}, "no engine with its proof"),
        (engine(), Runtime.TENSORRT_RTX, {"hardware": ["sm86"], "label": "fine"}, "is no label"),
    ],
)
def test_an_engine_that_says_otherwise_than_its_proof_is_refused(bring, data, runtime, said, why):
    with pytest.raises(RefusedError, match=why):
        bring(data, runtime, **said)


def test_what_a_file_needs_is_in_its_variant(bring):
    (variant,) = bring(classifier(), memory_mib=256, runtime_version="1.22")
    assert variant.needs == Needs(memory_mib=256, runtime_version="1.22")


def test_a_file_that_needs_nothing_is_encoded_as_before_there_were_needs(bring):
    (variant,) = bring(classifier(), memory_mib=0, runtime_version="")
    assert b"needs" not in msgspec.json.encode(variant)


@pytest.mark.parametrize("memory_mib", [-1, MAX_MEMORY_MIB + 1, 1 << 62])
def test_no_device_has_such_memory(bring, memory_mib):
    with pytest.raises(RefusedError, match="MiB of memory") as caught:
        bring(classifier(), memory_mib=memory_mib)
    assert "0 for any" in caught.value.hint


@pytest.mark.parametrize(
    "version", ["new", "1.22-rc1", "1..2", ".1", "1.22\n", "1.٢", "v1.22", " 1.22", "1." * 9 + "1"]
)
def test_what_is_no_version_is_refused(bring, version):
    with pytest.raises(RefusedError, match="which is none") as caught:
        bring(classifier(), runtime_version=version)
    assert "1.22" in caught.value.hint


@given(st.lists(st.integers(0, 10**9 - 1), min_size=1, max_size=8))
def test_every_version_that_may_be_asked_for_is_one_that_devices_can_compare(numbers):
    version = ".".join(map(str, numbers))
    assert VERSION.fullmatch(version)
    assert at_least(version, version)
    assert not at_least(version, ".".join(map(str, [numbers[0] + 1, *numbers[1:]]))) or numbers[0] == 10**9 - 1
