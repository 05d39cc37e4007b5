"""Where a file is cut into chunks, so that what two releases have in common is sent once.

A large tensor of an ONNX file starts a chunk and is cut from its own start: layers that a training left alone keep
their chunks, and those that it changed lie where the previous version's lie. All else is cut where its content says
(gear hash and least, usual and most sizes as in FastCDC, Xia et al., USENIX ATC 2016), so that bytes inserted in front
move chunks and do not change them. The same bytes are always cut alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256 as _sha256
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from shared.bundle import CHUNK_SIZE, Chunk
from shared.errors import TrustError
from shared.ids import sha256
from shared.onnx_schema import MESSAGES
from shared.protobuf import Wire, read_fields

TENSOR = 16 << 10
"""Bytes from which a tensor starts a chunk of its own: below, a message and its line in the manifest cost too much."""

LEAST = 64 << 10
"""Bytes of a chunk whose end the content decides; `CHUNK_SIZE` is the most, and 128 KiB what comes of both."""

TAIL = 1 << 10
"""Bytes between two tensors that stay with the one before: names and shapes, which rarely change."""

_WINDOW = 32  # bytes that a hash of 32 bits sees
_BLOCK = 1 << 20
_MASK = np.uint32(0xFFFF0000)  # one position in 65,536 ends a chunk
_GEAR = np.array([int.from_bytes(_sha256(bytes([byte])).digest()[:4], "big") for byte in range(256)], np.uint32)


def cut(data: bytes) -> list[Chunk]:
    """Chunk list of `data`, which may also be a mapping of a file; each of at most `CHUNK_SIZE` bytes."""
    return [Chunk(sha256(data[start:end]), end - start) for start, end in pairwise(borders(data))]


def borders(data: bytes) -> list[int]:
    """Where chunks begin, ascending, and the end of the last."""
    found, position = [0], 0
    for start, end in [*_tensors(data), (len(data), len(data))]:
        _between(data, position, start, found)
        found += [*range(start + CHUNK_SIZE, end, CHUNK_SIZE), end] if end > start else []
        position = end
    return found


def _between(data: bytes, start: int, end: int, found: list[int]) -> None:
    """Cut what no large tensor fills; a short piece stays with the chunk before it where that has room."""
    if len(found) > 1 and end - start <= TAIL and end - found[-2] <= CHUNK_SIZE:
        found[-1] = end
    else:
        found += _by_content(data, start, end)


def _tensors(data: bytes) -> list[tuple[int, int]]:
    """Where the values of large tensors lie, ascending; none in what is no ONNX file."""
    found: list[tuple[int, int]] = []
    waiting = [("ModelProto", 0, len(data))]
    try:
        while waiting:
            message, start, end = waiting.pop()
            for field in read_fields(data, start, end):
                slot = MESSAGES[message].get(field.number)
                if slot is None or field.wire is not Wire.LENGTH or field.length < TENSOR:
                    continue
                if slot.message:
                    waiting.append((slot.message, field.start, field.end))
                elif message == "TensorProto":
                    found.append((field.start, field.end))
    except TrustError:
        return []
    return sorted(found)


def _by_content(data: bytes, start: int, end: int) -> Iterator[int]:
    """Ends of the chunks between `start` and `end`."""
    marks = _marks(data, start, end) if end - start > LEAST else np.empty(0, np.int64)
    while start < end:
        least, most = start + LEAST, min(start + CHUNK_SIZE, end)
        after = int(np.searchsorted(marks, least))
        start = min(int(marks[after]), most) if after < len(marks) else most
        yield start


def _marks(data: bytes, start: int, end: int) -> NDArray[np.int64]:
    """Positions after which the content says that a chunk may end, ascending."""
    found = []
    for begin in range(start, end, _BLOCK):
        before = max(begin - _WINDOW, start)
        hashes = _hashes(data[before : min(begin + _BLOCK, end)])[begin - before :]
        found.append(np.flatnonzero((hashes & _MASK) == 0) + begin + 1)
    return np.concatenate(found)


def _hashes(data: bytes) -> NDArray[np.uint32]:
    """Gear hash at each position: the sum of the last bytes' random numbers, each doubled for every byte since.

    Taken of twice as many bytes in each of five steps, instead of byte after byte.
    """
    hashes = _GEAR[np.frombuffer(data, np.uint8)]
    span = 1
    while span < _WINDOW:
        longer = hashes.copy()
        longer[span:] += hashes[:-span] << np.uint32(span)
        hashes, span = longer, 2 * span
    return hashes
