"""The messages of the Open Inference Protocol's gRPC form, built from a table.

Field names and numbers are those of `grpc_predict_v2.proto` (kserve/open-inference-protocol, Apache-2.0), which
Triton's `grpc_service.proto` shares; `properties` and `RepositoryIndex` are in either of the two. They live in a pool
of their own: a client's copy of the same names in one process does not meet them.
"""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace
from typing import Any

PACKAGE = "inference"
SERVICE = f"{PACKAGE}.GRPCInferenceService"

MESSAGES: dict[str, str] = {
    "InferParameter": "1 bool bool_param | 2 int64 int64_param | 3 string string_param | 4 double double_param"
    " | 5 uint64 uint64_param",
    "InferTensorContents": "1 *bool bool_contents | 2 *int32 int_contents | 3 *int64 int64_contents"
    " | 4 *uint32 uint_contents | 5 *uint64 uint64_contents | 6 *float fp32_contents | 7 *double fp64_contents"
    " | 8 *bytes bytes_contents",
    "ServerLiveRequest": "",
    "ServerLiveResponse": "1 bool live",
    "ServerReadyRequest": "",
    "ServerReadyResponse": "1 bool ready",
    "ModelReadyRequest": "1 string name | 2 string version",
    "ModelReadyResponse": "1 bool ready",
    "ServerMetadataRequest": "",
    "ServerMetadataResponse": "1 string name | 2 string version | 3 *string extensions",
    "ModelMetadataRequest": "1 string name | 2 string version",
    "TensorMetadata": "1 string name | 2 string datatype | 3 *int64 shape",
    "ModelMetadataResponse": "1 string name | 2 *string versions | 3 string platform | 4 *TensorMetadata inputs"
    " | 5 *TensorMetadata outputs | 6 map:string properties",
    "InferInputTensor": "1 string name | 2 string datatype | 3 *int64 shape | 4 map:InferParameter parameters"
    " | 5 InferTensorContents contents",
    "InferRequestedOutputTensor": "1 string name | 2 map:InferParameter parameters",
    "InferOutputTensor": "1 string name | 2 string datatype | 3 *int64 shape | 4 map:InferParameter parameters"
    " | 5 InferTensorContents contents",
    "ModelInferRequest": "1 string model_name | 2 string model_version | 3 string id | 4 map:InferParameter parameters"
    " | 5 *InferInputTensor inputs | 6 *InferRequestedOutputTensor outputs | 7 *bytes raw_input_contents",
    "ModelInferResponse": "1 string model_name | 2 string model_version | 3 string id"
    " | 4 map:InferParameter parameters | 5 *InferOutputTensor outputs | 6 *bytes raw_output_contents",
    "RepositoryIndexRequest": "1 string repository_name | 2 bool ready",
    "ModelIndex": "1 string name | 2 string version | 3 string state | 4 string reason",
    "RepositoryIndexResponse": "1 *ModelIndex models",
}
"""Message → its fields, `number type name`; `*` for repeated, `map:` for a map from strings. `InferParameter` is one of
its fields."""

METHODS = (
    "ServerLive",
    "ServerReady",
    "ModelReady",
    "ServerMetadata",
    "ModelMetadata",
    "ModelInfer",
    "RepositoryIndex",
)
"""Each takes its `…Request` and gives its `…Response`."""


@cache
def messages() -> Any:
    """The classes, as attributes; needs the package `protobuf`."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="hinterland/inference.proto", package=PACKAGE, syntax="proto3")
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for text in filter(None, fields.split("|")):
            _add_field(message, *text.split())
    choice = next(each for each in file.message_type if each.name == "InferParameter")
    choice.oneof_decl.add(name="parameter_choice")
    for field in choice.field:
        field.oneof_index = 0
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found = {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}")) for name in MESSAGES
    }
    return SimpleNamespace(**found)


def _add_field(message: Any, number: str, kind: str, name: str) -> None:
    from google.protobuf.descriptor_pb2 import FieldDescriptorProto as Field

    if kind.startswith("map:"):
        entry = "".join(part.capitalize() for part in name.split("_")) + "Entry"
        nested = message.nested_type.add(name=entry)
        nested.options.map_entry = True
        _add_field(nested, "1", "string", "key")
        _add_field(nested, "2", kind.removeprefix("map:"), "value")
        kind = f"*{message.name}.{entry}"
    repeated, kind = kind.startswith("*"), kind.removeprefix("*")
    field = message.field.add(
        name=name, number=int(number), label=Field.LABEL_REPEATED if repeated else Field.LABEL_OPTIONAL
    )
    if kind[0].isupper():
        field.type, field.type_name = Field.TYPE_MESSAGE, f".{PACKAGE}.{kind}"
    else:
        field.type = Field.Type.Value(f"TYPE_{kind.upper()}")
