"""A few numbers per input that move when the world around a sensor moves.

Sketches of them leave the device; inputs do not.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from shared.bundle import Schema
from shared.errors import ContractError

Features = dict[str, NDArray[np.float32]]
"""Feature name → one value per input, [n]."""

GRID = 96
"""Rows and columns of an image that features are taken from: a full 300 × 300 costs a tenth of a detection."""


def features_for(schema: Schema) -> Callable[[NDArray[np.float32]], Features]:
    """The features of a model's inputs, by their shape: [channels, time] or [channels, height, width].

    Raises:
        ContractError: inputs of another rank.
    """
    rank = len(schema.input_shape)
    if rank == 2:
        return sensor_features
    if rank == 3:
        return image_features
    raise ContractError(f"no drift features for inputs of shape {schema.input_shape}")


def sensor_features(batch: NDArray[np.float32]) -> Features:
    """Of windows [n, channels, time]: level and spread of each channel."""
    mean, std = batch.mean(axis=2), batch.std(axis=2)
    features: Features = {}
    for channel in range(batch.shape[1]):
        features[f"ch{channel}.mean"] = mean[:, channel]
        features[f"ch{channel}.std"] = std[:, channel]
    return features


def image_features(batch: NDArray[np.float32]) -> Features:
    """Of images [n, channels, height, width]: brightness, contrast and sharpness of their mean channel.

    Looks at about `GRID` rows and columns, whatever the size of the image.
    Sharpness is the variance of the 4-neighbour Laplacian (Pech-Pacheco et al., "Diatom autofocusing in
    brightfield microscopy", ICPR 2000), in squared units of the input.
    """
    step = max(1, min(batch.shape[2:]) // GRID)
    grey = batch[:, :, ::step, ::step].mean(axis=1)
    laplacian = (
        grey[:, :-2, 1:-1] + grey[:, 2:, 1:-1] + grey[:, 1:-1, :-2] + grey[:, 1:-1, 2:] - 4 * grey[:, 1:-1, 1:-1]
    )
    return {
        "brightness": grey.mean(axis=(1, 2)),
        "contrast": grey.std(axis=(1, 2)),
        "sharpness": laplacian.var(axis=(1, 2)),
    }
