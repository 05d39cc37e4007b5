"""What an operator may bring as a model, told by its content."""

import io
import zipfile

import pytest

from cloud.loop.imports import describe
from cloud.store.blobs import FileBlobs
from shared.api import ImportedFile, ReleaseRequest
from shared.bundle import Runtime, Schema
from shared.errors import RefusedError
from tests.models import classifier

SCHEMA = Schema(kind="classification", labels=["a", "b"], input_shape=[3, 10])
WEIGHTS = (55).to_bytes(8, "little") + b'{"w":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}  ' + bytes(4)


@pytest.fixture
def bring(tmp_path):
    blobs = FileBlobs(tmp_path / "blobs")

    def variants(data, runtime=Runtime.ONNXRUNTIME):
        file = ImportedFile(name="cpu-fp32.onnx", digest=blobs.put(data), precision="fp32", runtime=runtime)
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
    assert len(bring(WEIGHTS, Runtime.OPENVINO)) == 1
    with pytest.raises(RefusedError, match="weights alone"):
        bring(WEIGHTS)
