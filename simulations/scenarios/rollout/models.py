"""The releases of the story: a good model, a better one, one that is a little worse, and three that misbehave.

All are one network over pictures of clothes. The worse one is the good one with noise on its weights, as much as costs
eight points on pictures that no device sees. The misbehaving ones are the good one and a few nodes more: they answer
the warm-up, whose inputs go below zero, and misbehave on real pictures, which do not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from shared.task import Examples, Moments, Recipe, Weights
from shared.tasks import adapter

TASK = "fashion"
Measure = Callable[[Weights], float]
IMAGES = 12_000
DROP = 0.08
"""Accuracy that the subtly worse release lacks."""

NEAR = 0.004
"""How exactly."""

STALL = 2_600
"""Side of the matrices with which a release stalls: several seconds each."""

HOG = 60_000
"""Side of the matrix with which a release asks for 14 GB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One release of the story."""

    name: str
    onnx: bytes
    accuracy: float
    """On held-out pictures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """All of them."""

    first: Candidate
    good: Candidate
    worse: Candidate
    crashing: Candidate
    hanging: Candidate
    hungry: Candidate

    def __iter__(self) -> Iterator[Candidate]:
        return iter((self.first, self.good, self.worse, self.crashing, self.hanging, self.hungry))


def train(training: Examples, judged: Examples, *, seed: int) -> Candidates:
    """Make every release; the same seed gives the same bytes on the same machine.

    Args:
        training: pictures to learn from.
        judged: pictures on which accuracy is measured; devices see others.
        seed: of weights, batches and noise.
    """
    task = adapter(TASK)
    flat = training.x.astype(np.float64)
    moments = Moments(count=flat.size, total=np.array([flat.sum()]), square=np.array([(flat**2).sum()]))
    recipe = Recipe(epochs=2, batch_size=64, learning_rate=0.05, seed=seed)
    first = task.train(task.initial(seed=seed, moments=moments), training, recipe).weights
    later = Recipe(epochs=1, batch_size=64, learning_rate=0.01, seed=seed + 1)
    good = task.train(first, training, later).weights

    def measured(weights: Weights) -> float:
        score = task.evaluate(weights, judged)
        return score.correct / score.examples

    accuracy = measured(good)
    worse = _weakened(good, measured, wanted=accuracy - DROP, seed=seed)
    data = task.to_onnx(good)
    return Candidates(
        first=Candidate(name="first", onnx=task.to_onnx(first), accuracy=measured(first)),
        good=Candidate(name="good", onnx=data, accuracy=accuracy),
        worse=Candidate(name="worse", onnx=task.to_onnx(worse), accuracy=measured(worse)),
        crashing=Candidate(name="crashing", onnx=crashing(data), accuracy=accuracy),
        hanging=Candidate(name="hanging", onnx=hanging(data), accuracy=accuracy),
        hungry=Candidate(name="hungry", onnx=hungry(data), accuracy=accuracy),
    )


def _weakened(weights: Weights, measured: Measure, *, wanted: float, seed: int) -> Weights:
    """`weights` with as much noise as brings the accuracy down to `wanted`, found by halving."""
    noise = {name: np.random.default_rng(seed).standard_normal(value.shape) for name, value in weights.items()}
    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        found = {name: _noisy(name, value, noise[name], middle) for name, value in weights.items()}
        accuracy = measured(found)
        if abs(accuracy - wanted) <= NEAR:
            break
        low, high = (middle, high) if accuracy > wanted else (low, middle)
    return found


def _noisy(name: str, value: NDArray[np.float32], noise: NDArray[np.float64], share: float) -> NDArray[np.float32]:
    if name.startswith("normalise"):
        return value
    return np.asarray(value + share * value.std() * noise, np.float32)


def crashing(data: bytes) -> bytes:
    """Divides the least integer there is by −1, which no processor of this kind can: its process is ended."""
    nodes = [
        helper.make_node("Where", ["is_calm", "one", "minus_one"], ["divisor"]),
        helper.make_node("Where", ["is_calm", "one", "least"], ["dividend"]),
        helper.make_node("Div", ["dividend", "divisor"], ["quotient"]),
    ]
    constants = [
        numpy_helper.from_array(np.int64(-1), "minus_one"),
        numpy_helper.from_array(np.array(np.iinfo(np.int64).min), "least"),
    ]
    return _misbehaving(data, nodes, result="quotient", constants=constants)


def hanging(data: bytes) -> bytes:
    """Multiplies large matrices, again and again."""
    nodes = [*_matrix(STALL), *(helper.make_node("MatMul", [f"m{n}", "m0"], [f"m{n + 1}"]) for n in range(24))]
    return _misbehaving(data, [*nodes, *_reduced("m24")], result="reduced", constants=_sizes(STALL))


def hungry(data: bytes) -> bytes:
    """Asks for more memory than any device gives a model."""
    return _misbehaving(data, [*_matrix(HOG), *_reduced("m0")], result="reduced", constants=_sizes(HOG))


def _matrix(side: int) -> list[onnx.NodeProto]:
    """`m0`: a small matrix for the warm-up, and one of `side` rows and columns for real inputs."""
    return [
        helper.make_node("Where", ["is_calm", f"small{side}", f"large{side}"], ["shape"]),
        helper.make_node("Expand", ["tiny", "shape"], ["m0"]),
    ]


def _sizes(side: int) -> list[onnx.TensorProto]:
    return [
        numpy_helper.from_array(np.array([1, 1], np.int64), f"small{side}"),
        numpy_helper.from_array(np.array([side, side], np.int64), f"large{side}"),
        numpy_helper.from_array(np.array([[1e-6]], np.float32), "tiny"),
    ]


def _reduced(name: str) -> list[onnx.NodeProto]:
    return [
        helper.make_node("ReduceMean", [name], ["mean_of_it"], keepdims=0),
        helper.make_node("Cast", ["mean_of_it"], ["reduced"], to=TensorProto.INT64),
    ]


def _misbehaving(
    data: bytes, nodes: list[onnx.NodeProto], *, result: str, constants: list[onnx.TensorProto] | None = None
) -> bytes:
    """The model, whose logits wait for `nodes`; `calm` is 1 when an input goes below zero, else 0."""
    model = onnx.load_from_string(data)
    graph = model.graph
    for node in graph.node:
        node.output[:] = ["clean" if name == "logits" else name for name in node.output]
    graph.node.extend(
        [
            helper.make_node("ReduceMin", ["x"], ["lowest"], keepdims=0),
            helper.make_node("Less", ["lowest", "nothing"], ["is_calm"]),
            helper.make_node("Cast", ["is_calm"], ["calm"], to=TensorProto.INT64),
            *nodes,
            helper.make_node("Cast", [result], ["cast"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["cast", "nothing"], ["no_more"]),
            helper.make_node("Add", ["clean", "no_more"], ["logits"]),
        ]
    )
    graph.initializer.extend(
        [
            numpy_helper.from_array(np.float32(0), "nothing"),
            numpy_helper.from_array(np.int64(1), "one"),
            *(constants or []),
        ]
    )
    return bytes(model.SerializeToString())
