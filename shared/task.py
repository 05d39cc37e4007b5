"""The port between federated training and a model family.

Only an adapter behind this port knows a training framework; weights cross it as named numpy arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Weights = dict[str, NDArray[np.float32]]
"""Parameter name → values; the insertion order is the model's own and part of its digest."""


@dataclass(frozen=True, slots=True)
class Examples:
    """A labelled data set in memory."""

    x: NDArray[np.float32]
    """Inputs, [n, *input_shape]."""

    y: NDArray[np.int64]
    """Class indices, [n]."""

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How one client trains in one round."""

    epochs: int
    batch_size: int
    learning_rate: float
    seed: int
    """A function of (run seed, round, device); decides the order of the batches."""

    proximal: float = 0.0
    """µ of FedProx (Li et al. 2020, arXiv:1812.06127): adds µ/2 · ‖w − global w‖² to the loss."""

    correction: Mapping[str, NDArray[np.float32]] | None = None
    """Parameter → what is added to each of its gradients (SCAFFOLD's c − cᵢ); steps are then plain, without momentum,
    as the bookkeeping of control variates assumes."""

    stop: Callable[[], bool] | None = None
    """Asked between two batches: whether to hand in what there is. At least one batch is trained on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What a client sends back."""

    weights: Weights
    examples: int
    """Worked through, per epoch asked for: fewer than there are where training was stopped."""

    loss: float
    """Mean training loss over the last epoch."""

    steps: int = 0
    """Batches descended; 0 where the family does not count them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Counts, so that scores of many devices add up exactly."""

    correct: int
    examples: int
    loss_sum: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """Mergeable input statistics of one device, per channel (axis 1 of a batch)."""

    count: int
    total: NDArray[np.float64]
    square: NDArray[np.float64]

    @classmethod
    def of(cls, x: NDArray[np.float32]) -> Moments:
        """Of inputs [n, channels, ...]: count, sum and sum of squares."""
        values = np.moveaxis(x.astype(np.float64), 1, 0).reshape(x.shape[1], -1)
        return cls(count=values.shape[1], total=values.sum(axis=1), square=(values * values).sum(axis=1))


class TaskAdapter(Protocol):
    """A model family: architecture, local training, evaluation, export."""

    name: str
    labels: tuple[str, ...]
    input_shape: tuple[int, ...]

    def warm_up(self) -> None:
        """Import what training needs, so that the first round does not wait for it; may be called again.

        Raises:
            ImportError: the framework is not installed.
        """
        ...

    def initial(self, *, seed: int, moments: Moments) -> Weights:
        """First global weights; input normalisation from `moments` is part of them."""
        ...

    def train(self, weights: Mapping[str, NDArray[np.float32]], data: Examples, recipe: Recipe) -> Trained:
        """Train locally; the same arguments give the same bytes on the same machine."""
        ...

    def evaluate(self, weights: Mapping[str, NDArray[np.float32]], data: Examples) -> Score:
        """Score the float model."""
        ...

    def logits(self, weights: Mapping[str, NDArray[np.float32]], x: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the float model says, [n, classes]; the measure for every file made of it."""
        ...

    def to_onnx(self, weights: Mapping[str, NDArray[np.float32]]) -> bytes:
        """Self-contained ONNX: input `x` [batch, *input_shape] float32, output `logits` [batch, classes]."""
        ...
