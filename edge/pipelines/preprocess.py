"""From samples to the batch a model takes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from shared.bundle import Schema


def stack(inputs: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Inputs [*input_shape] as one batch [n, *input_shape]; a single input is not copied."""
    if len(inputs) == 1:
        return np.asarray(inputs[0], np.float32)[np.newaxis]
    return np.stack(inputs, dtype=np.float32)


def normalise(batch: NDArray[np.float32], schema: Schema) -> NDArray[np.float32]:
    """Bring a batch [n, channels, …] to the scale the model was trained on, where its graph does not do so."""
    if not schema.mean:
        return batch
    per_channel = (1, -1, *(1,) * (batch.ndim - 2))
    mean = np.asarray(schema.mean, np.float32).reshape(per_channel)
    std = np.asarray(schema.std, np.float32).reshape(per_channel)
    return (batch - mean) / std
