"""Inference requests of the Open Inference Protocol v2, read from what strangers send.

JSON as in the “Open Inference Protocol” (kserve/open-inference-protocol, `inference_rest.md`); the binary extension as
in Triton's “Binary Tensor Data Extension”: the JSON comes first, its length is told in a header, and the tensors' bytes
follow it in order, little-endian and row-major.
"""

from __future__ import annotations

import math
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from shared.errors import ContractError

DTYPES: Mapping[str, np.dtype[Any]] = {
    "BOOL": np.dtype("?"),
    "UINT8": np.dtype("u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}
"""Types of numbers in a request; a model gets them as 32-bit floats."""

MAX_RANK = 8
MAX_TENSORS = 8
MAX_TEXT = 256
"""Characters of an id or a name."""

MAX_JSON = 8 << 20
"""Bytes of JSON: reading them holds the interpreter up for tens of milliseconds, which binary tensors do not."""


class InputDocument(msgspec.Struct, kw_only=True):
    """One element of `inputs`."""

    name: str
    shape: list[int]
    datatype: str
    data: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)
    parameters: dict[str, Any] = {}


class OutputDocument(msgspec.Struct, kw_only=True):
    """One element of `outputs`."""

    name: str
    parameters: dict[str, Any] = {}


class RequestDocument(msgspec.Struct, kw_only=True):
    """The body of an inference request."""

    inputs: list[InputDocument]
    id: str = ""
    outputs: list[OutputDocument] = []
    parameters: dict[str, Any] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """An output that the caller asked for."""

    name: str
    binary: bool = False
    classes: int = 0
    """Give this many best classes in place of the numbers; 0 for the numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """An input by its name."""

    name: str
    values: NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """An inference request, whatever carried it."""

    inputs: Sequence[Tensor]
    id: str = ""
    outputs: Sequence[Wanted] = ()
    """Empty for all."""

    binary: bool = False
    """Whether outputs that were not asked for by name are to be binary."""

    raw: bool = False
    """The inputs are on the scale of the model's graph already: nothing is normalised here."""

    parameters: Mapping[str, Any] = field(default_factory=dict)


def read_request(body: bytes, *, json_length: int | None = None) -> Asked:
    """Read a request's body.

    Args:
        body: the bytes.
        json_length: how many of them are JSON, where binary tensors follow; None for all.

    Raises:
        ContractError: they are no such request; the text says why.
    """
    length = len(body) if json_length is None else json_length
    if not 0 <= length <= len(body):
        raise ContractError(f"Inference-Header-Content-Length is {length}, and the body has {len(body)} bytes")
    if length > MAX_JSON:
        raise ContractError(f"JSON of {length} bytes is over the limit of {MAX_JSON}; send binary tensors")
    document = _document(body[:length] if length < len(body) else body)
    if not 0 < len(document.inputs) <= MAX_TENSORS:
        raise ContractError(f"a request has 1 to {MAX_TENSORS} inputs, this one has {len(document.inputs)}")
    inputs, position = [], length
    for each in document.inputs:
        tensor, position = _tensor(each, body, position)
        inputs.append(tensor)
    if position != len(body):
        raise ContractError(f"{len(body) - position} bytes follow the last tensor")
    return Asked(
        inputs=inputs,
        id=document.id[:MAX_TEXT],
        outputs=[_wanted(each) for each in document.outputs[:MAX_TENSORS]],
        binary=document.parameters.get("binary_data_output") is True,
        raw=document.parameters.get("raw") is True,
        parameters=document.parameters,
    )


def check_shape(name: str, shape: Sequence[int]) -> int:
    """How many values a tensor of `shape` has.

    Raises:
        ContractError: no tensor has that shape.
    """
    if not 0 < len(shape) <= MAX_RANK or any(not 0 <= axis < 1 << 31 for axis in shape):
        raise ContractError(f"{name[:MAX_TEXT]!r} has the impossible shape {list(shape)[: MAX_RANK + 1]}")
    return math.prod(shape)


def dtype_of(name: str, datatype: str) -> np.dtype[Any]:
    """The type of a tensor's numbers.

    Raises:
        ContractError: it is none that a model here takes.
    """
    if datatype not in DTYPES:
        raise ContractError(f"{name[:MAX_TEXT]!r} is of type {datatype[:MAX_TEXT]!r}; known are {', '.join(DTYPES)}")
    return DTYPES[datatype]


def from_bytes(name: str, datatype: str, shape: Sequence[int], data: bytes | memoryview) -> Tensor:
    """A tensor from its bytes, which are not copied.

    Raises:
        ContractError: they are not as many as type and shape say.
    """
    dtype, count = dtype_of(name, datatype), check_shape(name, shape)
    if len(data) != (size := count * dtype.itemsize):
        raise ContractError(
            f"{name[:MAX_TEXT]!r} has {len(data)} bytes; {datatype} of shape {list(shape)} takes {size}"
        )
    return Tensor(name=name, values=np.frombuffer(data, dtype, count).reshape(shape))


def _document(data: bytes) -> RequestDocument:
    try:
        return msgspec.json.decode(data, type=RequestDocument)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ContractError(f"no inference request: {error}"[:MAX_TEXT]) from error


def _tensor(document: InputDocument, body: bytes, position: int) -> tuple[Tensor, int]:
    name = document.name[:MAX_TEXT]
    size = document.parameters.get("binary_data_size")
    if size is None:
        return Tensor(name=name, values=_from_json(document)), position
    if type(size) is not int or not 0 <= size <= len(body) - position:
        raise ContractError(
            f"{name!r} has a binary_data_size of {str(size)[:20]}, and {len(body) - position} bytes are left"
        )
    data = memoryview(body)[position : position + size]
    return from_bytes(name, document.datatype, document.shape, data), position + size


def _from_json(document: InputDocument) -> NDArray[Any]:
    name, dtype = document.name[:MAX_TEXT], dtype_of(document.name, document.datatype)
    count = check_shape(name, document.shape)
    data = bytes(document.data)
    if not data:
        raise ContractError(f"{name!r} has neither data nor a binary_data_size")
    try:
        values = np.asarray(msgspec.json.decode(data, type=_nested(data, dtype)), dtype)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ContractError(f"the data of {name!r} are no {document.datatype}: {error}"[:MAX_TEXT]) from error
    except (ValueError, OverflowError, TypeError) as error:  # ragged lists, numbers that the type cannot hold
        raise ContractError(f"the data of {name!r} do not fit {document.datatype}: {error}"[:MAX_TEXT]) from error
    if values.size != count or (values.ndim > 1 and list(values.shape) != document.shape):
        raise ContractError(f"the data of {name!r} are of shape {list(values.shape)}, not {document.shape}")
    return values.reshape(document.shape)


_DEPTHS: dict[tuple[type, int], Any] = {}


def _nested(data: bytes, dtype: np.dtype[Any]) -> Any:
    """The type of the lists in `data`, as deep as they begin: what is in them is then numbers and nothing else."""
    kind = {"b": bool, "f": float}.get(dtype.kind, int)
    depth = 0
    for byte in data[: 64 * MAX_RANK]:
        if byte == 0x5B:  # [
            depth += 1
        elif byte not in b" \t\r\n":
            break
    depth = min(max(depth, 1), MAX_RANK)
    if (kind, depth) not in _DEPTHS:
        lists: Any = kind
        for _ in range(depth):
            lists = types.GenericAlias(list, (lists,))
        _DEPTHS[kind, depth] = lists
    return _DEPTHS[kind, depth]


def _wanted(document: OutputDocument) -> Wanted:
    classes = document.parameters.get("classification", 0)
    if type(classes) is not int or not 0 <= classes < 1 << 16:
        raise ContractError(f"classification is a number of classes, not {str(classes)[:20]}")
    return Wanted(name=document.name[:MAX_TEXT], binary=document.parameters.get("binary_data") is True, classes=classes)
