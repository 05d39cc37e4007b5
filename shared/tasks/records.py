"""Weights as Flower carries them: one flat array. Importing this module imports Flower.

Flower sends every array of a record as two objects, each with a call of its own on either side of the SuperLink;
a model of ten tensors took four times as long on the way as one vector of the same bytes does. Flower's own
strategies average, clip or compare vectors as well as matrices.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from flwr.app import Array, ArrayRecord
from numpy.typing import NDArray

from shared.errors import ContractError
from shared.task import Weights

FLAT = "weights"
"""Name of the one array in a record."""

Form = dict[str, tuple[int, ...]]
"""Tensor names and shapes, in the model's order."""


def flatten(weights: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
    """All values, tensor after tensor, each in C order."""
    return np.concatenate([np.ravel(values) for values in weights.values()]).astype(np.float32, copy=False)


def unflatten(flat: NDArray[np.float32], form: Mapping[str, tuple[int, ...]]) -> Weights:
    """The tensors of `form` again.

    Raises:
        ContractError: the vector has another length.
    """
    sizes = [int(np.prod(shape)) for shape in form.values()]
    if flat.shape != (sum(sizes),) or min(sizes, default=0) < 0:
        raise ContractError(f"a vector of shape {flat.shape} does not fit {sum(sizes)} weights")
    parts = np.split(flat, np.cumsum(sizes)[:-1])
    return {name: part.reshape(shape).copy() for (name, shape), part in zip(form.items(), parts, strict=True)}


def to_record(weights: Mapping[str, NDArray[np.float32]]) -> ArrayRecord:
    """Encode weights."""
    return ArrayRecord({FLAT: Array(flatten(weights))})


def read_arrays(record: object) -> dict[str, NDArray[np.float32]]:
    """Decode arrays as they came: nothing about their names, shapes or types is believed yet.

    Raises:
        ContractError: no array record, or an array's bytes are no array.
    """
    if not isinstance(record, ArrayRecord):
        raise ContractError("the message holds no arrays")
    try:
        arrays = {str(name): array.numpy() for name, array in record.items()}
    except (ValueError, TypeError, OSError, EOFError, KeyError, MemoryError) as error:
        raise ContractError(f"an array cannot be read: {error}"[:300]) from error
    if not all(isinstance(values, np.ndarray) for values in arrays.values()):
        raise ContractError("an array's bytes are an archive")
    return arrays


def from_record(record: object, form: Mapping[str, tuple[int, ...]]) -> Weights:
    """Decode the weights of a model of that form.

    Raises:
        ContractError: these are no such weights.
    """
    arrays = read_arrays(record)
    if list(arrays) != [FLAT] or arrays[FLAT].dtype != np.float32:
        raise ContractError("the message holds no weights")
    return unflatten(arrays[FLAT], form)
