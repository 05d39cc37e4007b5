"""Honest models pass, whoever wrote them; and the schema is ONNX's own."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.onnx_ml_pb2 import DESCRIPTOR

from shared.errors import TrustError
from shared.modelfile import check_model
from shared.onnx_schema import BITS, MESSAGES
from shared.protobuf import Wire, read_fields, read_varint, signed
from shared.task import Moments
from shared.tasks import adapter
from tests.models import classifier, detector


@pytest.mark.parametrize("task", ["activity", "fashion"])
def test_models_that_we_export_pass(task: str) -> None:
    family = adapter(task)
    channels = family.input_shape[0]
    moments = Moments(count=1, total=np.zeros(channels), square=np.ones(channels))
    check_model(family.to_onnx(family.initial(seed=1, moments=moments)))


@pytest.mark.parametrize("data", [classifier(), detector()])
def test_models_of_other_writers_pass(data: bytes) -> None:
    check_model(data)


def test_typed_data_packed_sizes_and_subgraphs_pass() -> None:
    branch = helper.make_graph(
        [helper.make_node("Constant", [], ["out"], value=helper.make_tensor("v", TensorProto.FLOAT, [2], [1.0, 2.0]))],
        "branch",
        [],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [2])],
    )
    node = helper.make_node("If", ["yes"], ["y"], then_branch=branch, else_branch=branch)
    initializers = [
        helper.make_tensor("yes", TensorProto.BOOL, [], [True]),
        helper.make_tensor("half", TensorProto.INT4, [3], [1, 2, 3]),
        numpy_helper.from_array(np.zeros((0, 3), np.float32), "none"),
        numpy_helper.from_array(np.zeros(3, np.float16), "short"),
    ]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n"])
    check_model(helper.make_model(helper.make_graph([node], "g", [], [output], initializers)).SerializeToString())


def test_the_size_limit_is_the_callers() -> None:
    data = classifier()
    check_model(data, max_bytes=len(data))
    with pytest.raises(TrustError, match="bytes"):
        check_model(data, max_bytes=len(data) - 1)


@pytest.mark.parametrize("message", MESSAGES)
def test_field_numbers_are_those_of_onnx(message: str) -> None:
    first, *nested = message.split(".")
    described = DESCRIPTOR.message_types_by_name[first]
    for name in nested:
        described = described.nested_types_by_name[name]
    for number, slot in MESSAGES[message].items():
        field = described.fields_by_number[number]
        inner = field.message_type.full_name.removeprefix("onnx.") if field.message_type else ""
        assert (slot.name, slot.message, slot.many) == (field.name, inner, field.is_repeated)


def test_element_sizes_are_those_of_onnx() -> None:
    for kind, bits in BITS.items():
        tensor = helper.make_tensor("t", kind, [16], np.ones(16))
        assert onnx.TensorProto.DataType.Name(kind)
        assert numpy_helper.to_array(tensor).size == 16
        raw = numpy_helper.from_array(numpy_helper.to_array(tensor)).raw_data
        assert len(raw) * 8 == bits * 16


def test_wire_numbers() -> None:
    assert read_varint(b"\xac\x02", 0, 2) == (300, 2)
    assert signed((1 << 64) - 1) == -1
    fields = list(read_fields(b"\x08\x96\x01\x12\x02hi\x1d\x00\x00\x80\x3f", 0, 12))
    assert [(field.number, field.wire, field.value, field.length) for field in fields] == [
        (1, Wire.VARINT, 150, 2),
        (2, Wire.LENGTH, 0, 2),
        (3, Wire.FIXED32, 0, 4),
    ]


@pytest.mark.parametrize(
    "data", [b"\x08", b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f", b"\x00\x01", b"\x0b", b"\x12\x05hi", b"\x1d\x00"]
)
def test_bytes_that_are_no_message_are_refused(data: bytes) -> None:
    with pytest.raises(TrustError):
        list(read_fields(data, 0, len(data)))
