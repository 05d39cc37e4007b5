"""Weights as Flower carries them: an `ArrayRecord` of `.npy` bytes. Importing this module imports Flower."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from flwr.app import Array, ArrayRecord
from numpy.typing import NDArray

from shared.errors import ContractError
from shared.task import Weights


def to_record(weights: Mapping[str, NDArray[np.float32]]) -> ArrayRecord:
    """Encode weights, in their order."""
    return ArrayRecord({name: Array(np.ascontiguousarray(values)) for name, values in weights.items()})


def from_record(record: object) -> Weights:
    """Decode arrays as they came: nothing about names, shapes or types is believed yet.

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
