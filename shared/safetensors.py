"""Is a safetensors file only tensors? Its format is numbers and a table of contents, and nothing that can run.

Format: https://github.com/huggingface/safetensors#format. Eight bytes give the length of a JSON header; the header
names each tensor's type, shape and place; then come the bytes, without gaps. Everything that the format leaves to its
reader is refused here: a name said twice, tensors that overlap or leave room for something else, sizes that do not
multiply, types that nobody knows.
"""

from __future__ import annotations

import json
import math
from typing import Any

from shared.errors import TrustError

MAX_HEADER = 8 << 20
"""Bytes; 50,000 tensors with long names. The format allows 100 MB, which takes seconds and a gigabyte to parse."""

MAX_TENSORS = 50_000
MAX_RANK = 16
MAX_NAME = 512
"""Characters."""

BITS = {
    "BOOL": 8,
    "U8": 8,
    "I8": 8,
    "F8_E5M2": 8,
    "F8_E4M3": 8,
    "I16": 16,
    "U16": 16,
    "F16": 16,
    "BF16": 16,
    "I32": 32,
    "U32": 32,
    "F32": 32,
    "I64": 64,
    "U64": 64,
    "F64": 64,
}
"""Type → bits of an element."""

METADATA = "__metadata__"

_PREFIX = 8  # bytes of the header's length


def looks_like_safetensors(data: bytes) -> bool:
    """Whether the bytes begin as the format does; nothing is proven by that."""
    length = int.from_bytes(data[:_PREFIX], "little")
    return len(data) > _PREFIX + 1 and 2 <= length <= len(data) - _PREFIX and data[_PREFIX : _PREFIX + 1] == b"{"


def check_safetensors(data: bytes) -> None:
    """Accept a file of tensors and nothing else.

    Raises:
        TrustError: anything else; the message says what was found. Never another error, whatever the bytes.
    """
    # (1) a bounded header that lies within the file
    if not looks_like_safetensors(data):
        raise TrustError("not a safetensors file: there is no header")
    length = int.from_bytes(data[:_PREFIX], "little")
    if length > MAX_HEADER:
        raise TrustError(f"the header of {length} bytes is over the limit of {MAX_HEADER}")
    header = _header(bytes(data[_PREFIX : _PREFIX + length]))
    # (2) notes are text
    notes = header.pop(METADATA, {})
    if not isinstance(notes, dict) or not all(isinstance(note, str) for note in notes.values()):
        raise TrustError(f"the header's {METADATA} are no notes")
    if not 0 < len(header) <= MAX_TENSORS:
        raise TrustError(f"a safetensors file of {len(header)} tensors is not within 1 and {MAX_TENSORS}")
    # (3) each tensor as large as it says, and (4) one behind the other to the last byte
    places = sorted(_place(name, said) for name, said in header.items())
    end = 0
    for start, stop in places:
        if start != end:
            raise TrustError(f"tensors overlap or leave a gap at byte {min(start, end)}")
        end = stop
    if end != len(data) - _PREFIX - length:
        raise TrustError(f"tensors fill {end} bytes, the file has {len(data) - _PREFIX - length} for them")


def _header(text: bytes) -> dict[str, Any]:
    try:
        header = json.loads(text, object_pairs_hook=_once, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise TrustError(f"the header is no table of tensors: {error}"[:300]) from error
    if not isinstance(header, dict):
        raise TrustError("the header is no table of tensors")
    return header


def _place(name: str, said: object) -> tuple[int, int]:
    """Where a tensor begins and ends, once its size is the one that type and shape make."""
    if len(name) > MAX_NAME or not isinstance(said, dict) or set(said) != {"dtype", "shape", "data_offsets"}:
        raise TrustError(f"tensor {name[:80]!r} is not described by type, shape and place")
    kind, shape, offsets = said["dtype"], said["shape"], said["data_offsets"]
    if not isinstance(kind, str) or kind not in BITS:
        raise TrustError(f"tensor {name[:80]!r} has elements of an unknown type {str(kind)[:20]!r}")
    if not _counts(shape) or len(shape) > MAX_RANK or not _counts(offsets) or len(offsets) != 2:
        raise TrustError(f"tensor {name[:80]!r} has an impossible shape or place")
    start, stop = offsets
    if stop - start != math.prod(shape) * BITS[kind] // 8:
        raise TrustError(f"tensor {name[:80]!r} is not as large as its shape says")
    return start, stop


def _counts(said: object) -> bool:
    """Whether it is a list of whole numbers that a file can hold; `True` is none."""
    return isinstance(said, list) and all(type(number) is int and 0 <= number < 1 << 63 for number in said)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is said twice")
    return found


def _no_number(said: str) -> object:
    raise ValueError(f"{said} is no number")
