"""Building blocks that the families share; importing this module imports torch."""

from __future__ import annotations

import torch
from torch import nn


class Normalise(nn.Module):
    """Subtract the mean and divide by the deviation of each channel, as part of the graph.

    Both are buffers: no client trains them, and aggregation leaves equal values as they are.
    """

    mean: torch.Tensor
    deviation: torch.Tensor

    def __init__(self, channels: int, *, axes: int) -> None:
        super().__init__()
        shape = (channels, *([1] * axes))
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("deviation", torch.ones(shape))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map [batch, channels, …] to the same shape."""
        return (x - self.mean) / self.deviation


class MeanOver(nn.Module):
    """Average over the given axes; ONNX knows it as one node of fixed axes, which quantises well."""

    def __init__(self, *axes: int) -> None:
        super().__init__()
        self.axes = axes

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Drop the axes."""
        return x.mean(dim=self.axes)
