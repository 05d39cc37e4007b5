"""The messages of an ONNX file that a device accepts, by field number.

Numbers are those of `onnx.proto` (ONNX 1.19 to 1.23; a test compares them with the installed package). Fields are
missing on purpose where what they hold has no place in a release: training graphs, functions, sparse tensors (a few
bytes that unpack to any size), tensors in other files, placements on devices.
"""

from __future__ import annotations

from typing import NamedTuple

from shared.protobuf import Wire


class Slot(NamedTuple):
    """What one field of a message may be."""

    wire: Wire
    many: bool = False
    """May come more than once; numbers may then also come packed."""

    message: str = ""
    """The message it holds, if it holds one."""

    name: str = ""


def _text(name: str, *, many: bool = False) -> Slot:
    return Slot(Wire.LENGTH, many, "", name)


def _number(name: str, *, many: bool = False, wire: Wire = Wire.VARINT) -> Slot:
    return Slot(wire, many, "", name)


def _part(name: str, message: str, *, many: bool = False) -> Slot:
    return Slot(Wire.LENGTH, many, message, name)


MESSAGES: dict[str, dict[int, Slot]] = {
    "ModelProto": {
        1: _number("ir_version"),
        2: _text("producer_name"),
        3: _text("producer_version"),
        4: _text("domain"),
        5: _number("model_version"),
        6: _text("doc_string"),
        7: _part("graph", "GraphProto"),
        8: _part("opset_import", "OperatorSetIdProto", many=True),
        14: _part("metadata_props", "StringStringEntryProto", many=True),
    },
    "OperatorSetIdProto": {1: _text("domain"), 2: _number("version")},
    "StringStringEntryProto": {1: _text("key"), 2: _text("value")},
    "GraphProto": {
        1: _part("node", "NodeProto", many=True),
        2: _text("name"),
        5: _part("initializer", "TensorProto", many=True),
        10: _text("doc_string"),
        11: _part("input", "ValueInfoProto", many=True),
        12: _part("output", "ValueInfoProto", many=True),
        13: _part("value_info", "ValueInfoProto", many=True),
        16: _part("metadata_props", "StringStringEntryProto", many=True),
    },
    "NodeProto": {
        1: _text("input", many=True),
        2: _text("output", many=True),
        3: _text("name"),
        4: _text("op_type"),
        5: _part("attribute", "AttributeProto", many=True),
        6: _text("doc_string"),
        7: _text("domain"),
        9: _part("metadata_props", "StringStringEntryProto", many=True),
    },
    "AttributeProto": {
        1: _text("name"),
        2: _number("f", wire=Wire.FIXED32),
        3: _number("i"),
        4: _text("s"),
        5: _part("t", "TensorProto"),
        6: _part("g", "GraphProto"),
        7: _number("floats", many=True, wire=Wire.FIXED32),
        8: _number("ints", many=True),
        9: _text("strings", many=True),
        10: _part("tensors", "TensorProto", many=True),
        11: _part("graphs", "GraphProto", many=True),
        13: _text("doc_string"),
        14: _part("tp", "TypeProto"),
        15: _part("type_protos", "TypeProto", many=True),
        20: _number("type"),
    },
    "TensorProto": {
        1: _number("dims", many=True),
        2: _number("data_type"),
        4: _number("float_data", many=True, wire=Wire.FIXED32),
        5: _number("int32_data", many=True),
        6: _text("string_data", many=True),
        7: _number("int64_data", many=True),
        8: _text("name"),
        9: _text("raw_data"),
        10: _number("double_data", many=True, wire=Wire.FIXED64),
        11: _number("uint64_data", many=True),
        12: _text("doc_string"),
        14: _number("data_location"),
        16: _part("metadata_props", "StringStringEntryProto", many=True),
    },
    "ValueInfoProto": {
        1: _text("name"),
        2: _part("type", "TypeProto"),
        3: _text("doc_string"),
        4: _part("metadata_props", "StringStringEntryProto", many=True),
    },
    "TypeProto": {
        1: _part("tensor_type", "TypeProto.Tensor"),
        4: _part("sequence_type", "TypeProto.Sequence"),
        6: _text("denotation"),
        9: _part("optional_type", "TypeProto.Optional"),
    },
    "TypeProto.Tensor": {1: _number("elem_type"), 2: _part("shape", "TensorShapeProto")},
    "TypeProto.Sequence": {1: _part("elem_type", "TypeProto")},
    "TypeProto.Optional": {1: _part("elem_type", "TypeProto")},
    "TensorShapeProto": {1: _part("dim", "TensorShapeProto.Dimension", many=True)},
    "TensorShapeProto.Dimension": {1: _number("dim_value"), 2: _text("dim_param"), 3: _text("denotation")},
}

BITS = {
    1: 32,  # FLOAT
    2: 8,  # UINT8
    3: 8,  # INT8
    4: 16,  # UINT16
    5: 16,  # INT16
    6: 32,  # INT32
    7: 64,  # INT64
    9: 8,  # BOOL
    10: 16,  # FLOAT16
    11: 64,  # DOUBLE
    12: 32,  # UINT32
    13: 64,  # UINT64
    16: 16,  # BFLOAT16
    17: 8,  # FLOAT8E4M3FN
    18: 8,  # FLOAT8E4M3FNUZ
    19: 8,  # FLOAT8E5M2
    20: 8,  # FLOAT8E5M2FNUZ
    21: 4,  # UINT4
    22: 4,  # INT4
}
"""`TensorProto.DataType` → bits of one element; strings and complex numbers are no weights."""

DOMAINS = frozenset({b"", b"ai.onnx", b"com.microsoft"})
"""Operator sets that ONNX Runtime carries itself; any other names code that is not in the file."""

CONTRIBUTED = frozenset(
    {
        b"QuantizeLinear", b"DequantizeLinear", b"QGemm", b"QLinearAdd", b"QLinearMul", b"QLinearAveragePool",
        b"QLinearConcat", b"QLinearGlobalAveragePool", b"QLinearLeakyRelu", b"QLinearReduceMean", b"QLinearSigmoid",
        b"QLinearSoftmax", b"MatMulIntegerToFloat", b"DynamicQuantizeMatMul",
    }
)  # fmt: skip  # a table, read in rows
"""Operators of `com.microsoft` that are plain integer arithmetic. Others of that domain open files (`EPContext`) or
call back into Python (`PythonOp`)."""
