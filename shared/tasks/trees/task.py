"""Boosted trees over window statistics, grown with XGBoost: each client adds one a round, for all classes at once.

A window [channels, samples] becomes its mean, deviation, least and greatest value per channel, of raw readings: trees
ask which is greater, so nothing needs a common scale. Mean and deviation are computed in double precision and rounded
once: thresholds are values that the data had, and a last digit that differed would send a window down another branch.

XGBoost grows trees and does nothing else. What a model says is read off its tables (`shared.tasks.trees.tables`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.errors import ContractError
from shared.task import Examples, Moments, Recipe, Score, Trained, Weights
from shared.tasks.scoring import score
from shared.tasks.trees import booster, graph
from shared.tasks.trees.tables import LEAF, Shape

STATISTICS = 4
"""Per channel: mean, deviation, least, greatest."""

STEP = 4.0
"""Largest magnitude of a leaf before the learning rate: where a class is rare, the Newton step has no bound of its own.
A gate can hold every device to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TreesTask:
    """A `TaskAdapter` that `GrowsTrees`, for windows of three classes or more."""

    name: str
    labels: tuple[str, ...]
    input_shape: tuple[int, int]
    """Channels and samples of a window."""

    depth: int = 4

    @property
    def shape(self) -> Shape:
        """Of its trees."""
        return Shape(features=STATISTICS * self.input_shape[0], classes=len(self.labels), depth=self.depth)

    def warm_up(self) -> None:
        _xgboost()

    def initial(self, *, seed: int, moments: Moments) -> Weights:
        """No tree yet: nothing for `seed` to decide, and nothing that `moments` could scale."""
        return self.shape.empty()

    def train(self, weights: Mapping[str, NDArray[np.float32]], data: Examples, recipe: Recipe) -> Trained:
        """Grow one tree on what the given ones get wrong: neither epochs nor batch size say anything here."""
        if recipe.proximal or recipe.correction is not None:
            raise ContractError(f"{self.name} grows trees: neither FedProx nor SCAFFOLD reaches into them")
        table = window_table(data.x)
        if not np.isfinite(table).all():
            raise ContractError(f"{self.name} has readings that are no numbers")
        tree = self._grown(table, data.y, said=self.shape.logits(weights, table), recipe=recipe)
        trained = self.shape.joined(weights, tree)
        after = score(self.shape.logits(trained, table), data.y)
        return Trained(weights=trained, examples=len(data), loss=after.loss_sum / max(after.examples, 1))

    def evaluate(self, weights: Mapping[str, NDArray[np.float32]], data: Examples) -> Score:
        return score(self.logits(weights, data.x), data.y)

    def logits(self, weights: Mapping[str, NDArray[np.float32]], x: NDArray[np.float32]) -> NDArray[np.float32]:
        return self.shape.logits(weights, window_table(x))

    def to_onnx(self, weights: Mapping[str, NDArray[np.float32]]) -> bytes:
        if not self.shape.check(weights):
            raise ContractError(f"a model of {self.name} without a tree says nothing")
        return graph.to_onnx(weights, self.shape, name=self.name, input_shape=self.input_shape)

    def newest(self, weights: Mapping[str, NDArray[np.float32]]) -> bytes:
        if not self.shape.check(weights):
            raise ContractError(f"a model of {self.name} without a tree has no newest one")
        return booster.write({name: values[-1:] for name, values in weights.items()}, self.shape)

    def read_trees(self, data: bytes, *, trees: int, greatest: float) -> Weights:
        return booster.read(data, self.shape, trees=trees, greatest=greatest)

    def write_trees(self, weights: Mapping[str, NDArray[np.float32]]) -> bytes:
        return booster.write(weights, self.shape)

    def greatest_leaf(self, learning_rate: float) -> float:
        return STEP * learning_rate

    def joined(self, weights: Mapping[str, NDArray[np.float32]], more: Mapping[str, NDArray[np.float32]]) -> Weights:
        return self.shape.joined(weights, more)

    def _grown(
        self, table: NDArray[np.float32], y: NDArray[np.int64], *, said: NDArray[np.float32], recipe: Recipe
    ) -> Weights:
        """One tree on the gradients at what the model `said`."""
        xgboost = _xgboost()
        terms = {
            "objective": "multi:softprob",
            "num_class": len(self.labels),
            "multi_strategy": "multi_output_tree",  # one tree for all classes, as Flower's bagging adds one
            "tree_method": "hist",
            "max_depth": self.depth,
            "eta": recipe.learning_rate,
            "subsample": 0.8,
            "seed": recipe.seed % (1 << 31),
            "nthread": 1,
            "verbosity": 0,
        }
        held = xgboost.DMatrix(table, label=y, base_margin=said, nthread=1)
        grown = bytes(xgboost.train(terms, held, num_boost_round=1).save_raw("json"))
        tree = booster.read(grown, self.shape, trees=1, greatest=float("inf"))
        most = np.float32(self.greatest_leaf(recipe.learning_rate))
        return tree | {LEAF: np.clip(tree[LEAF], -most, most)}


def window_table(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """The table that trees ask, [n, 4 · channels], of windows [n, channels, samples]."""
    wide = x.astype(np.float64)
    mean = wide.mean(axis=2, keepdims=True)
    deviation = np.sqrt(((wide - mean) ** 2).mean(axis=2))
    parts = (mean[:, :, 0].astype(np.float32), deviation.astype(np.float32), x.min(axis=2), x.max(axis=2))
    return np.concatenate(parts, axis=1)


def _xgboost() -> Any:
    import xgboost

    return xgboost
