"""Linear models over window statistics, trained with scikit-learn: no neural network, and no torch.

A window [channels, samples] becomes its mean, deviation, least and greatest value per channel, each of the readings
after normalisation with the federated moments. Over these lie one logistic model a class (`SGDClassifier`, one against
all). The weights are plain float32 arrays, so they are averaged, checked and stored like any other model's.
The ONNX file is written node by node.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.errors import ContractError
from shared.task import Examples, Moments, Recipe, Score, Trained, Weights
from shared.tasks.scoring import score, statistics

STATISTICS = 4
"""Per channel: mean, deviation, least, greatest."""

REGULARISATION = 1e-4
OPSET = 17
IR_VERSION = 8
"""The pair of one ONNX release; ONNX Runtime on old devices reads it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearTask:
    """A `TaskAdapter` over scikit-learn's stochastic gradient descent, for windows of three classes or more."""

    name: str
    labels: tuple[str, ...]
    input_shape: tuple[int, int]
    """Channels and samples of a window."""

    def warm_up(self) -> None:
        _classifier()

    def initial(self, *, seed: int, moments: Moments) -> Weights:
        """Zeros: the loss is convex, so that there is nothing for `seed` to decide."""
        mean, deviation = statistics(moments)
        return {
            "normalise.mean": mean.astype(np.float32).reshape(-1, 1),
            "normalise.deviation": deviation.astype(np.float32).reshape(-1, 1),
            "head.weight": np.zeros((len(self.labels), STATISTICS * self.input_shape[0]), dtype=np.float32),
            "head.bias": np.zeros(len(self.labels), dtype=np.float32),
        }

    def train(self, weights: Mapping[str, NDArray[np.float32]], data: Examples, recipe: Recipe) -> Trained:
        """Descend example by example: `recipe.batch_size` says nothing here."""
        self._check(weights)
        if recipe.proximal or recipe.correction is not None:
            raise ContractError(f"{self.name} descends plainly: neither FedProx nor SCAFFOLD reaches into it")
        features = window_statistics(weights, data.x).astype(np.float64)
        model = _classifier()(
            loss="log_loss",
            alpha=REGULARISATION,
            learning_rate="constant",
            eta0=recipe.learning_rate,
            random_state=recipe.seed % (1 << 32),
        )
        classes = np.arange(len(self.labels))
        model.partial_fit(features[:1], data.y[:1], classes=classes)  # sizes the arrays that the next lines fill
        model.coef_ = weights["head.weight"].astype(np.float64)
        model.intercept_ = weights["head.bias"].astype(np.float64)
        order = np.random.Generator(np.random.PCG64(recipe.seed))
        done = 0
        for done in range(1, recipe.epochs + 1):  # noqa: B007  # counts what a budget left time for
            chosen = order.permutation(len(data))
            model.partial_fit(features[chosen], data.y[chosen])
            if recipe.stop is not None and recipe.stop():
                break
        trained = {name: values.copy() for name, values in weights.items()}
        trained["head.weight"] = model.coef_.astype(np.float32)
        trained["head.bias"] = model.intercept_.astype(np.float32)
        after = self.evaluate(trained, data)
        worked = max(1, len(data) * done // max(recipe.epochs, 1))
        return Trained(weights=trained, examples=worked, loss=after.loss_sum / max(after.examples, 1))

    def evaluate(self, weights: Mapping[str, NDArray[np.float32]], data: Examples) -> Score:
        return score(self.logits(weights, data.x), data.y)

    def logits(self, weights: Mapping[str, NDArray[np.float32]], x: NDArray[np.float32]) -> NDArray[np.float32]:
        self._check(weights)
        return (window_statistics(weights, x) @ weights["head.weight"].T + weights["head.bias"]).astype(np.float32)

    def to_onnx(self, weights: Mapping[str, NDArray[np.float32]]) -> bytes:
        from onnx import TensorProto, helper, numpy_helper

        self._check(weights)
        nodes = [
            helper.make_node("Sub", ["x", "normalise.mean"], ["centred"]),
            helper.make_node("Div", ["centred", "normalise.deviation"], ["z"]),
            helper.make_node("ReduceMean", ["z"], ["means"], axes=[2], keepdims=1),
            helper.make_node("Sub", ["z", "means"], ["around"]),
            helper.make_node("Mul", ["around", "around"], ["squares"]),
            helper.make_node("ReduceMean", ["squares"], ["variance"], axes=[2], keepdims=0),
            helper.make_node("Sqrt", ["variance"], ["deviation"]),
            helper.make_node("ReduceMean", ["z"], ["mean"], axes=[2], keepdims=0),
            helper.make_node("ReduceMin", ["z"], ["least"], axes=[2], keepdims=0),
            helper.make_node("ReduceMax", ["z"], ["greatest"], axes=[2], keepdims=0),
            helper.make_node("Concat", ["mean", "deviation", "least", "greatest"], ["features"], axis=1),
            helper.make_node("Gemm", ["features", "head.weight", "head.bias"], ["logits"], name="head", transB=1),
        ]
        graph = helper.make_graph(
            nodes,
            self.name,
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *self.input_shape])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", len(self.labels)])],
            [numpy_helper.from_array(np.ascontiguousarray(values), name) for name, values in weights.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        return bytes(model.SerializeToString(deterministic=True))

    def _check(self, weights: Mapping[str, NDArray[np.float32]]) -> None:
        channels, classes = self.input_shape[0], len(self.labels)
        expected = {
            "normalise.mean": (channels, 1),
            "normalise.deviation": (channels, 1),
            "head.weight": (classes, STATISTICS * channels),
            "head.bias": (classes,),
        }
        if {name: values.shape for name, values in weights.items()} != expected:
            raise ContractError(f"these are no weights of {self.name}")


def _classifier() -> Any:
    from sklearn.linear_model import SGDClassifier  # type: ignore[import-untyped]  # it ships no types

    return SGDClassifier


def window_statistics(weights: Mapping[str, NDArray[np.float32]], x: NDArray[np.float32]) -> NDArray[np.float32]:
    """The table that the model reads, [n, 4 · channels], of windows [n, channels, samples]."""
    z = (x - weights["normalise.mean"]) / weights["normalise.deviation"]
    parts = (z.mean(axis=2), z.std(axis=2), z.min(axis=2), z.max(axis=2))
    return np.concatenate(parts, axis=1).astype(np.float32)
