"""Is a model file only a model? Asked before any runtime parses it.

ONNX files can name other files to read weights from, operators to load from elsewhere, functions, training graphs,
and tensors far larger than themselves; a pickle can be anything. `check_model` walks the bytes with nothing but
numbers of `shared.onnx_schema`, so a device needs no ONNX package, and no parser sees what did not pass.

What the caller still owes: a signature (who made it), and bounds on memory and time while it runs: a small honest
graph may still compute for ever or fill memory with `Loop`, `Expand` or `ConstantOfShape`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from shared.errors import TrustError
from shared.onnx_schema import BITS, CONTRIBUTED, DOMAINS, MESSAGES, Slot
from shared.protobuf import Field, Wire, read_fields, read_varint, signed

MAX_BYTES = (2 << 30) - 1
"""No larger message exists: protobuf counts in 31 bits."""

MAX_FIELDS = 300_000
"""About a second of looking. A transformer of 10,000 nodes has some 200,000."""

MAX_DEPTH = 40
"""Messages within messages: some twelve levels of `If` and `Loop` bodies."""

MAX_ELEMENTS = 1 << 31
"""Of any tensor with a fixed shape; ONNX Runtime's own kernels index with 32 bits in places."""

MAX_RANK = 16

_NARROWEST = 4
"""Elements that one byte can hold at most (of 2 bits)."""

CONFIGURATION = b"ort_config"
"""Metadata by which a model may ask for session options of its own."""


@dataclass(frozen=True, slots=True)
class _Span:
    """A message still to be looked into."""

    message: str
    start: int
    end: int
    depth: int


def check_model(data: bytes, *, max_bytes: int = MAX_BYTES) -> None:
    """Accept a self-contained ONNX model of plain operators.

    Raises:
        TrustError: anything else; the message says what was found. Never another error, whatever the bytes.
    """
    if not 0 < len(data) <= min(max_bytes, MAX_BYTES):
        raise TrustError(f"a model file of {len(data)} bytes is not within 1 and {min(max_bytes, MAX_BYTES)}")
    left = MAX_FIELDS
    waiting = [_Span("ModelProto", 0, len(data), 0)]
    while waiting:
        span = waiting.pop()
        fields = _read(data, span, limit=left)
        left -= len(fields)
        _RULES.get(span.message, _no_rule)(data, fields)
        waiting += _parts(fields, span)


def _read(data: bytes, span: _Span, *, limit: int) -> list[Field]:
    """(1) only known fields, each in its own form, the single ones once."""
    if span.depth > MAX_DEPTH:
        raise TrustError(f"the model nests messages deeper than {MAX_DEPTH}")
    slots = MESSAGES[span.message]
    fields: list[Field] = []
    seen: set[int] = set()
    for field in read_fields(data, span.start, span.end):
        slot = slots.get(field.number)
        if slot is None or not _fits(field, slot):
            raise TrustError(f"not a plain ONNX model: {span.message} with field {field.number}")
        if not slot.many and field.number in seen:
            raise TrustError(f"{span.message} says {slot.name} twice")
        if len(fields) >= limit:
            raise TrustError(f"the model has more than {MAX_FIELDS} fields")
        seen.add(field.number)
        fields.append(field)
    return fields


def _fits(field: Field, slot: Slot) -> bool:
    packed = slot.many and field.wire is Wire.LENGTH
    return field.wire is slot.wire or packed


def _parts(fields: Iterable[Field], span: _Span) -> Iterable[_Span]:
    slots = MESSAGES[span.message]
    for field in fields:
        if message := slots[field.number].message:
            yield _Span(message, field.start, field.end, span.depth + 1)


def _model(data: bytes, fields: Sequence[Field]) -> None:
    """(2) a graph, and a version of the format."""
    numbers = {field.number for field in fields}
    if not {1, 7, 8} <= numbers:
        raise TrustError("not an ONNX model: it has no graph, format version or operator set")


def _operator_set(data: bytes, fields: Sequence[Field]) -> None:
    """(3) operators that the runtime itself carries."""
    domain = _bytes(data, fields, 1)
    if domain not in DOMAINS:
        raise TrustError(f"the model wants operators of {_shown(domain)}, which no device has")


def _node(data: bytes, fields: Sequence[Field]) -> None:
    domain, operator = _bytes(data, fields, 7), _bytes(data, fields, 4)
    if domain not in DOMAINS or (domain == b"com.microsoft" and operator not in CONTRIBUTED):
        raise TrustError(f"the model calls {_shown(operator)} of {_shown(domain)}, which is no plain operator")


def _tensor(data: bytes, fields: Sequence[Field]) -> None:
    """(4) weights that lie in this file and are as large as they say."""
    name = _shown(_bytes(data, fields, 8))
    if any(field.number == 14 and field.value for field in fields):
        raise TrustError(f"tensor {name} lies in another file")
    kind = next((field.value for field in fields if field.number == 2), 0)
    if kind not in BITS:
        raise TrustError(f"tensor {name} has elements of kind {kind}, which is no number")
    elements = _elements(_numbers(data, fields, 1), what=f"tensor {name}")
    raw = next((field.length for field in fields if field.number == 9), None)
    if raw is not None and raw != -(-elements * BITS[kind] // 8):
        raise TrustError(f"tensor {name} says {elements} elements and holds {raw} bytes")
    typed = sum(max(field.length, 1) for field in fields if field.number in {4, 5, 7, 10, 11})
    if raw is None and elements > _NARROWEST * typed:
        raise TrustError(f"tensor {name} says {elements} elements and holds {typed} bytes")


def _shape(data: bytes, fields: Sequence[Field]) -> None:
    """(5) inputs and activations of a size that a machine has; open axes count as one."""
    sizes = [next(iter(_numbers(data, list(read_fields(data, f.start, f.end)), 1)), 1) for f in fields]
    _elements([max(size, 1) for size in sizes], what="a value")


def _metadata(data: bytes, fields: Sequence[Field]) -> None:
    """(6) no wishes about the session."""
    if _bytes(data, fields, 1) == CONFIGURATION:
        raise TrustError("the model brings session options of its own")


def _no_rule(data: bytes, fields: Sequence[Field]) -> None:
    """Its form is all that is asked of it."""


_RULES: dict[str, Callable[[bytes, Sequence[Field]], None]] = {
    "ModelProto": _model,
    "OperatorSetIdProto": _operator_set,
    "NodeProto": _node,
    "TensorProto": _tensor,
    "TensorShapeProto": _shape,
    "StringStringEntryProto": _metadata,
}


def _elements(sizes: Sequence[int], *, what: str) -> int:
    if len(sizes) > MAX_RANK or any(not 0 <= size <= MAX_ELEMENTS for size in sizes):
        raise TrustError(f"{what} has an impossible shape {list(sizes[:MAX_RANK])}")
    elements = math.prod(sizes)
    if elements > MAX_ELEMENTS:
        raise TrustError(f"{what} has {elements} elements, over the limit of {MAX_ELEMENTS}")
    return elements


def _numbers(data: bytes, fields: Iterable[Field], number: int) -> list[int]:
    """Values of a repeated integer, packed or not; more than `MAX_RANK` come back as one too many."""
    values: list[int] = []
    for field in fields:
        if field.number != number:
            continue
        if field.wire is Wire.VARINT:
            values.append(signed(field.value))
            continue
        position = field.start
        while position < field.end and len(values) <= MAX_RANK:
            value, position = read_varint(data, position, field.end)
            values.append(signed(value))
    return values


def _bytes(data: bytes, fields: Iterable[Field], number: int) -> bytes:
    return next((data[field.start : field.end] for field in fields if field.number == number), b"")


def _shown(text: bytes) -> str:
    return repr(text[:80].decode("utf-8", "replace"))
