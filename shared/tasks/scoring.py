"""What every model family computes alike, whatever trains it: scores from logits, normalisation from moments."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shared.task import Moments, Score


def score(logits: NDArray[np.float32], y: NDArray[np.int64]) -> Score:
    """Count what the logits [n, classes] get right of y [n], and sum the cross-entropy."""
    values = logits.astype(np.float64)
    shifted = values - values.max(axis=1, keepdims=True)
    losses = np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(y)), y]
    return Score(correct=int((values.argmax(axis=1) == y).sum()), examples=len(y), loss_sum=float(losses.sum()))


def statistics(moments: Moments) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation per channel; a channel that never moves gets deviation 1."""
    count = max(moments.count, 1)
    mean = moments.total / count
    variance = np.maximum(moments.square / count - mean**2, 0.0)
    deviation = np.sqrt(variance)
    return mean, np.where(deviation < 1e-6, 1.0, deviation)
