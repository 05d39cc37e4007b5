"""Model files that want more than to be computed: refused before any runtime parses them."""

import pickle
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from shared.errors import TrustError
from shared.modelfile import MAX_DEPTH, MAX_FIELDS, check_model
from tests.models import classifier

ROOT = Path(__file__).parents[2]


def honest() -> ModelProto:
    return onnx.load_model_from_string(classifier())


def altered(change: Callable[[ModelProto], object]) -> bytes:
    model = honest()
    check_model(model.SerializeToString())  # the control: what is altered next was accepted
    change(model)
    return bytes(model.SerializeToString())


def outside(model: ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../../etc/passwd")


def only_location(model: ModelProto) -> None:
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL


def only_entry(model: ModelProto) -> None:
    model.graph.initializer[0].external_data.add(key="location", value="/dev/zero")


def outside_in_a_constant(model: ModelProto) -> None:
    tensor = numpy_helper.from_array(np.zeros(2, np.float32))
    tensor.data_location = TensorProto.EXTERNAL
    model.graph.node.append(helper.make_node("Constant", [], ["c"], value=tensor))


def outside_in_a_branch(model: ModelProto) -> None:
    inner = honest().graph
    inner.initializer[0].data_location = TensorProto.EXTERNAL
    model.graph.node.append(helper.make_node("If", ["x"], ["z"], then_branch=inner, else_branch=honest().graph))


def custom_operator(model: ModelProto) -> None:
    model.graph.node.append(helper.make_node("Anything", ["x"], ["z"], domain="com.evil"))


def custom_set(model: ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("ai.onnx.contrib", 1))


def foreign_context(model: ModelProto) -> None:
    node = helper.make_node("EPContext", ["x"], ["z"], domain="com.microsoft", ep_cache_context="../../lib.so")
    model.graph.node.append(node)


def function(model: ModelProto) -> None:
    model.functions.append(helper.make_function("f", "n", ["a"], ["b"], [], [helper.make_opsetid("", 17)]))


def training(model: ModelProto) -> None:
    model.training_info.add()


def sparse_bomb(model: ModelProto) -> None:
    values, indices = numpy_helper.from_array(np.ones(1, np.float32), "s"), numpy_helper.from_array(np.zeros(1, int))
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [1 << 40]))


def huge_tensor(model: ModelProto) -> None:
    model.graph.initializer[0].dims[:] = [1 << 20, 1 << 20]


def claimed_tensor(model: ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.dims[:] = [1 << 15, 1 << 15]


def wrong_size(model: ModelProto) -> None:
    model.graph.initializer[0].raw_data += b"\0"


def negative(model: ModelProto) -> None:
    model.graph.initializer[0].dims[:] = [-1, -6]


def objects(model: ModelProto) -> None:
    model.graph.initializer.append(helper.make_tensor("text", TensorProto.STRING, [1], [b"cos\nsystem"]))


def huge_input(model: ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1 << 40


def wishes(model: ModelProto) -> None:
    model.metadata_props.add(key="ort_config", value='{"session_options": {"custom_ops_library": "x.so"}}')


def placement(model: ModelProto) -> None:
    model.configuration.add(name="elsewhere", num_devices=2)


ALTERATIONS = [
    outside, only_location, only_entry, outside_in_a_constant, outside_in_a_branch, custom_operator, custom_set,
    foreign_context, function, training, sparse_bomb, huge_tensor, claimed_tensor, wrong_size, negative, objects,
    huge_input, wishes, placement,
]  # fmt: skip  # names, read in rows


@pytest.mark.parametrize("change", ALTERATIONS, ids=lambda change: change.__name__)
def test_a_model_that_wants_more_is_refused(change: Callable[[ModelProto], None]) -> None:
    with pytest.raises(TrustError):
        check_model(altered(change))


def length_prefixed(number: int, body: bytes) -> bytes:
    size, prefix = len(body), bytearray()
    while True:
        size, low = size >> 7, size & 0x7F
        prefix.append(low | (0x80 if size else 0))
        if not size:
            return bytes([number << 3 | 2]) + bytes(prefix) + body


def test_branches_within_branches_end_somewhere() -> None:
    graph = b""
    for _ in range(MAX_DEPTH):  # graph → node → attribute → graph
        graph = length_prefixed(1, length_prefixed(5, length_prefixed(6, graph)))
    with pytest.raises(TrustError, match="deeper"):
        check_model(b"\x08\x08" + length_prefixed(8, b"") + length_prefixed(7, graph))


@pytest.mark.parametrize("part", [b"\x0a\x00", length_prefixed(1, b"\x0a\x00" * 50)])
def test_a_file_of_nothing_but_fields_is_given_up_soon(part: bytes) -> None:
    data = b"\x08\x08" + length_prefixed(8, b"") + length_prefixed(7, part * (8 * MAX_FIELDS // len(part)))
    started = time.process_time()
    with pytest.raises(TrustError, match="fields"):
        check_model(data)
    assert time.process_time() - started < 10


def test_a_field_said_twice_is_refused_since_readers_differ_on_it() -> None:
    graph = honest().graph.SerializeToString()
    model = b"\x08\x08" + length_prefixed(8, b"\x10\x11")
    check_model(model + length_prefixed(7, graph))
    with pytest.raises(TrustError, match="twice"):
        check_model(model + length_prefixed(7, graph) * 2)


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("boom",)


def zipped() -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Bomb()))
    return buffer.getvalue()


@pytest.mark.parametrize(
    "data", [b"", b"\0", pickle.dumps(Bomb()), pickle.dumps(Bomb(), protocol=0), zipped(), b"\x7fELF" + bytes(60)]
)
def test_what_is_no_model_is_refused(data: bytes) -> None:
    with pytest.raises(TrustError):
        check_model(data)


def test_a_device_needs_no_onnx_package_for_it() -> None:
    program = "import sys, shared.modelfile; print([m for m in ('onnx', 'google.protobuf') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
