"""What an agent and a model's process say to each other: short messages on a socket, tensors in shared memory.

Neither side believes a length: descriptors are checked against the arena, and what the agent uses it copies first.
The arena's size is sealed, so that a model's process cannot cut it short under the agent's hands (SIGBUS).
"""

from __future__ import annotations

import fcntl
import math
import mmap
import os
import struct
from collections.abc import Sequence
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.errors import FaultError

SIDE = 64 << 20
"""Bytes for a batch, and as many for its answer; memory is used only where something was written."""

SLOTS = 2
"""Batches that may be with a model's process: one is worked on, the next lies ready when it is done."""

MAX_MESSAGE = 1 << 14
MAX_TENSORS = 16
MAX_RANK = 8
MAX_TEXT = 400
"""Characters of an error that are told."""

_DTYPES = tuple(np.dtype(name) for name in ("f4", "f8", "f2", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?"))
_ALIGNED = 64  # bytes; vector loads like it
_HEAD = struct.Struct("<BB")


class Kind(IntEnum):
    """First byte of a message."""

    RUN = 1
    """From the agent: one tensor lies in the first side of the slot that the next byte names."""

    CONFINED = 2
    """From here on the process has no rights; the facts, one a line."""

    READY = 3
    """The model is loaded; execution providers, one a line."""

    ANSWER = 4
    """Tensors lie in the second side of the slot; answers come in the order of the questions."""

    FAULT = 5
    DISTRUST = 6
    """The file must not be parsed."""

    MEMORY = 7
    """The model asked for more memory than it may have."""


def make_arena() -> int:
    """A descriptor of shared memory, two sides for each slot, whose size nobody can change any more."""
    return _sealed(os.memfd_create("tensors", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING), 2 * SIDE * SLOTS)


def sides(slot: int) -> tuple[int, int]:
    """Where a slot's batch and its answer begin.

    Raises:
        FaultError: there is no such slot.
    """
    if not 0 <= slot < SLOTS:
        raise FaultError(f"there is no slot {slot}")
    return 2 * SIDE * slot, 2 * SIDE * slot + SIDE


def make_file(data: bytes) -> int:
    """A descriptor of `data` in memory that nobody can write any more."""
    descriptor = os.memfd_create("model", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
    return _sealed(descriptor, len(data), fcntl.F_SEAL_WRITE)


def _sealed(descriptor: int, size: int, seals: int = 0) -> int:
    os.ftruncate(descriptor, size)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL | seals)
    return descriptor


class Arena:
    """One process's view of the shared memory."""

    def __init__(self, descriptor: int) -> None:
        self._map = mmap.mmap(descriptor, 2 * SIDE * SLOTS)

    def put(self, tensors: Sequence[NDArray[Any]], *, start: int) -> bytes:
        """Copy tensors in; return their descriptors.

        Raises:
            FaultError: they do not fit, or are of a type that does not travel.
        """
        described: list[bytes] = []
        offset = start
        for tensor in tensors:
            if tensor.dtype not in _DTYPES or tensor.ndim > MAX_RANK or len(described) == MAX_TENSORS:
                raise FaultError(f"a tensor {tensor.dtype}{list(tensor.shape)} does not travel between processes")
            if offset + tensor.nbytes > start + SIDE:
                raise FaultError(f"tensors of more than {SIDE >> 20} MiB do not travel between processes")
            np.copyto(np.ndarray(tensor.shape, tensor.dtype, self._map, offset), tensor)
            head = _HEAD.pack(_DTYPES.index(tensor.dtype), tensor.ndim)
            described.append(head + struct.pack(f"<{tensor.ndim}Q", *tensor.shape))
            offset = _next(offset + tensor.nbytes)
        return b"".join(described)

    def view(self, described: bytes, *, start: int) -> list[NDArray[Any]]:
        """Tensors as they lie in the arena, where the other side may still write.

        Raises:
            FaultError: the descriptors are not what `put` gives.
        """
        found: list[NDArray[Any]] = []
        position, offset = 0, start
        while position < len(described):
            dtype, shape, position = _describe(described, position)
            size = math.prod(shape) * dtype.itemsize
            if offset + size > start + SIDE or len(found) == MAX_TENSORS:
                raise FaultError("the model's process answered more than fits")
            try:
                found.append(np.ndarray(shape, dtype, self._map, offset))
            except (ValueError, OverflowError) as error:  # no elements, along axes that no array has
                raise FaultError("the model's process answered an impossible shape") from error
            offset = _next(offset + size)
        return found

    def take(self, described: bytes, *, start: int) -> list[NDArray[Any]]:
        """As `view`, copied: what is checked later is what was taken now."""
        return [tensor.copy() for tensor in self.view(described, start=start)]

    def close(self) -> None:
        """Unmap."""
        self._map.close()


def told(error: BaseException | str) -> bytes:
    """An error's text as it travels."""
    return str(error)[:MAX_TEXT].encode(errors="replace")


def read_text(data: bytes) -> str:
    """What the other side told, printable."""
    text = data.decode(errors="replace")[:MAX_TEXT]
    return "".join(each if each.isprintable() or each == "\n" else "?" for each in text)


def _describe(described: bytes, position: int) -> tuple[np.dtype[Any], tuple[int, ...], int]:
    try:
        code, rank = _HEAD.unpack_from(described, position)
        shape = struct.unpack_from(f"<{rank}Q", described, position + _HEAD.size)
        dtype = _DTYPES[code]
    except (struct.error, IndexError) as error:
        raise FaultError("the model's process answered in no known form") from error
    if rank > MAX_RANK:
        raise FaultError(f"the model's process answered a tensor of rank {rank}")
    return dtype, shape, position + _HEAD.size + 8 * rank


def _next(offset: int) -> int:
    return -(-offset // _ALIGNED) * _ALIGNED
