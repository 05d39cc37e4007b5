"""Weights as Flower carries them: one flat array. Importing this module imports Flower.

Flower sends every array of a record as two objects, each with a call of its own on either side of the SuperLink;
a model of ten tensors took four times as long on the way as one vector of the same bytes does. Flower's own
strategies average, clip or compare vectors as well as matrices.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord
from numpy.typing import NDArray

from shared.errors import ContractError
from shared.task import Weights

FLAT = "weights"
"""Name of the one array in a record."""

_MOST_HEAD = 10 + (1 << 16)
"""Bytes before the numbers of an array in numpy's format 1.0."""

Form = dict[str, tuple[int, ...]]
"""Tensor names and shapes, in the model's order."""


def flatten(weights: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
    """All values, tensor after tensor, each in C order."""
    return np.concatenate([np.ravel(values) for values in weights.values()]).astype(np.float32, copy=False)


def unflatten(flat: NDArray[np.float32], form: Mapping[str, tuple[int, ...]]) -> Weights:
    """A copy of the vector as the tensors of `form`.

    Raises:
        ContractError: the vector has another length.
    """
    return {name: values.copy() for name, values in view(flat, form).items()}


def view(flat: NDArray[np.float32], form: Mapping[str, tuple[int, ...]]) -> Weights:
    """The tensors of `form` in the vector's own memory.

    Raises:
        ContractError: the vector has another length.
    """
    sizes = [int(np.prod(shape)) for shape in form.values()]
    if flat.shape != (sum(sizes),) or min(sizes, default=0) < 0:
        raise ContractError(f"a vector of shape {flat.shape} does not fit {sum(sizes)} weights")
    parts = np.split(flat, np.cumsum(sizes)[:-1])
    return {name: part.reshape(shape) for (name, shape), part in zip(form.items(), parts, strict=True)}


def to_record(weights: Mapping[str, NDArray[np.float32]]) -> ArrayRecord:
    """Encode weights, with one copy of them."""
    parts = [np.ascontiguousarray(values, dtype=np.float32) for values in weights.values()]
    return _record(parts, np.dtype(np.float32))


class Sendable:
    """Weights in memory that Flower can send as it is: numpy's head of a file lies before the vector."""

    def __init__(self, weights: Mapping[str, NDArray[np.float32]]) -> None:
        """Copy `weights`, tensor after tensor."""
        size = sum(values.size for values in weights.values())
        head = _head(size, np.dtype(np.float32).str)
        self._memory = np.empty(len(head) + 4 * size, dtype=np.uint8)
        self._memory[: len(head)] = np.frombuffer(head, dtype=np.uint8)
        self.flat: NDArray[np.float32] = self._memory[len(head) :].view(np.float32)
        """The vector; whoever writes to it changes every record of it."""
        end = 0
        for values in weights.values():
            self.flat[end : end + values.size] = values.reshape(-1)
            end += values.size

    def record(self) -> ArrayRecord:
        """The weights as they are now, without a copy: a record is good until they change."""
        return _carrying(self._memory.data.toreadonly(), self.flat.size, self.flat.dtype)


def flat_record(flat: NDArray[np.float32]) -> ArrayRecord:
    """Encode weights that are one vector already, with one copy."""
    return _record([flat], flat.dtype)


def _record(parts: list[NDArray[np.float32]], dtype: np.dtype[Any]) -> ArrayRecord:
    size = sum(part.size for part in parts)
    data = b"".join((_head(size, dtype.str), *(part.data.cast("B") for part in parts if part.size)))
    return _carrying(data, size, dtype)


def _carrying(data: bytes | memoryview, size: int, dtype: np.dtype[Any]) -> ArrayRecord:
    array = Array(str(dtype), (size,), "numpy.ndarray", b"")
    array.data = data  # its constructor takes nothing but bytes
    record = ArrayRecord()
    record[FLAT] = array  # and the record's would call it
    return record


@lru_cache(maxsize=64)
def _head(size: int, dtype: str) -> bytes:
    """What an `.npy` file of a vector begins with; a multiple of 64 bytes."""
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": dtype, "fortran_order": False, "shape": (size,)})
    return head.getvalue()


def read_arrays(record: object) -> dict[str, NDArray[np.float32]]:
    """Decode arrays as they came: nothing about their names, shapes or types is believed yet.

    Raises:
        ContractError: no array record, or an array's bytes are no array.
    """
    if not isinstance(record, ArrayRecord):
        raise ContractError("the message holds no arrays")
    try:
        arrays = {str(name): _values(array) for name, array in record.items()}
    except (ValueError, TypeError, OSError, EOFError, KeyError, MemoryError) as error:
        raise ContractError(f"an array cannot be read: {error}"[:300]) from error
    if not all(isinstance(values, np.ndarray) for values in arrays.values()):
        raise ContractError("an array's bytes are an archive")
    return arrays


def _values(array: Array) -> NDArray[Any]:
    """An array's numbers where they lie in the message, if they are a vector; anything else is Flower's to read."""
    if array.stype == "numpy.ndarray" and array.data[:8] == np.lib.format.magic(1, 0):
        file = io.BytesIO(array.data[:_MOST_HEAD])
        file.seek(8)
        shape, columns_first, dtype = np.lib.format.read_array_header_1_0(file)
        if len(shape) == 1 and not columns_first and not dtype.hasobject:
            return np.frombuffer(array.data, dtype, count=shape[0], offset=file.tell())
    values: NDArray[Any] = array.numpy()
    return values


def from_record(record: object, form: Mapping[str, tuple[int, ...]]) -> Weights:
    """Decode the weights of a model of that form.

    Raises:
        ContractError: these are no such weights.
    """
    arrays = read_arrays(record)
    if list(arrays) != [FLAT] or arrays[FLAT].dtype != np.float32:
        raise ContractError("the message holds no weights")
    return unflatten(arrays[FLAT], form)
