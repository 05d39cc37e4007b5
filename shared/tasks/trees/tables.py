"""Boosted trees as tables: every tree is a whole one of the same depth, each leaf a vector with a number a class.

Node i has the children 2i + 1 (`value < threshold`) and 2i + 2. A branch that ends early is filled up: its nodes ask
something, and all leaves below give the same answer. So a model is three arrays, which are checked, digested, stored
and sent like any other model's weights, and following a tree takes as many steps as it is deep, for all trees at once.
Feature numbers stand in float32, which holds them exactly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.errors import ContractError
from shared.task import Weights

FEATURE = "trees.feature"
THRESHOLD = "trees.threshold"
LEAF = "trees.leaf"

MOST_TREES = 4096
"""Of one model: at depth 4 and seven classes 2.3 MB, and a millisecond or two for a window on a small processor."""

EXAMPLES = 64
"""Looked at together: their leaves of all trees are in memory at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What all trees of a family have in common."""

    features: int
    classes: int
    depth: int

    @property
    def nodes(self) -> int:
        """Questions in a tree."""
        return (1 << self.depth) - 1

    @property
    def leaves(self) -> int:
        """Answers in a tree."""
        return 1 << self.depth

    def empty(self, trees: int = 0) -> Weights:
        """So many trees that say nothing."""
        return {
            FEATURE: np.zeros((trees, self.nodes), dtype=np.float32),
            THRESHOLD: np.zeros((trees, self.nodes), dtype=np.float32),
            LEAF: np.zeros((trees, self.leaves, self.classes), dtype=np.float32),
        }

    def check(self, weights: Mapping[str, NDArray[np.float32]]) -> int:
        """Return how many trees there are.

        Raises:
            ContractError: these are no trees of this shape.
        """
        trees = len(weights[FEATURE]) if FEATURE in weights and weights[FEATURE].ndim else 0
        forms = {name: values.shape for name, values in weights.items()}
        if trees > MOST_TREES or forms != {name: values.shape for name, values in self.empty(trees).items()}:
            raise ContractError(f"these are no trees of depth {self.depth} over {self.features} features")
        asked = weights[FEATURE]
        if not ((asked >= 0) & (asked < self.features) & (asked == np.floor(asked))).all():
            raise ContractError(f"a tree asks for a feature outside 0 to {self.features - 1}")
        return trees

    def joined(self, weights: Mapping[str, NDArray[np.float32]], more: Mapping[str, NDArray[np.float32]]) -> Weights:
        """The trees of both, in that order.

        Raises:
            ContractError: either are no trees of this shape, or both are too many.
        """
        count = self.check(weights) + self.check(more)
        if count > MOST_TREES:
            raise ContractError(
                f"{count} trees are more than the {MOST_TREES} of a model", hint="Fewer rounds, or smaller cohorts."
            )
        return {name: np.concatenate([weights[name], more[name]]) for name in (FEATURE, THRESHOLD, LEAF)}

    def logits(self, weights: Mapping[str, NDArray[np.float32]], x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Sum of the leaves that each row of `x` [n, features] reaches, [n, classes]."""
        trees = self.check(weights)
        total = np.zeros((len(x), self.classes), dtype=np.float32)
        feature = weights[FEATURE].astype(np.int64)
        tree = np.arange(trees)
        for start in range(0, len(x), EXAMPLES):
            part = x[start : start + EXAMPLES]
            row = np.arange(len(part))[:, None]
            at = np.zeros((len(part), trees), dtype=np.int64)
            for _ in range(self.depth):
                left = part[row, feature[tree, at]] < weights[THRESHOLD][tree, at]
                at = 2 * at + np.where(left, 1, 2)
            total[start : start + EXAMPLES] = weights[LEAF][tree, at - self.nodes].sum(axis=1)
        return total
