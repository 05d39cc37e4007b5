"""What a model family offers whose model grows: each client of a round adds a tree, and nothing is averaged.

The global model still crosses every wire and disk as `Weights`, longer by the round's trees after each round. Only
an update is something else: one tree, in the JSON of XGBoost's models, as Flower's XGBoost strategies pass it on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from shared.task import Weights


@runtime_checkable
class GrowsTrees(Protocol):
    """A `TaskAdapter` whose `train` returns the weights it was given and one more tree."""

    def newest(self, weights: Mapping[str, NDArray[np.float32]]) -> bytes:
        """The last tree of the weights as a booster of its own.

        Raises:
            ContractError: there is none.
        """
        ...

    def read_trees(self, booster: bytes, *, trees: int, greatest: float) -> Weights:
        """Check a booster and return its trees.

        Args:
            booster: as a client sent it: nothing about it is believed.
            trees: how many it must hold.
            greatest: the largest magnitude of a leaf that may be in it.

        Raises:
            ContractError: it is no such booster; the message says where.
        """
        ...

    def write_trees(self, weights: Mapping[str, NDArray[np.float32]]) -> bytes:
        """The trees of the weights as a booster that XGBoost reads; equal weights give equal bytes."""
        ...

    def greatest_leaf(self, learning_rate: float) -> float:
        """The largest magnitude of a leaf that `train` makes at that learning rate."""
        ...

    def joined(self, weights: Mapping[str, NDArray[np.float32]], more: Mapping[str, NDArray[np.float32]]) -> Weights:
        """The trees of both, in that order.

        Raises:
            ContractError: they would be more than a model may have.
        """
        ...
