"""Remaining life by regression, on machines that are simulated: wear makes them shake more, and noisily so.

It shows the way of a number with an interval from training to the device, not that such a model would do on a real
bearing: there are no recordings of real wear here.
"""

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from edge.inference.host import ModelHost
from edge.inference.onnx_runtime import OnnxSession
from edge.pipelines.sources.port import Sample
from edge.pipelines.step import infer
from edge.pipelines.tasks.interpret import Interpreter
from shared.bundle import Reading, Schema, Signal
from tests.models import place

LIFE_H = 1000.0
SHAPE = [1, 64]


def _machine(random: np.random.Generator, *, moments: int = 120) -> tuple[np.ndarray, np.ndarray]:
    """Windows of vibration over a machine's life, and the hours that were left."""
    left = np.sort(random.uniform(0, LIFE_H, moments))[::-1]
    size = np.exp(3 * (1 - left / LIFE_H) + random.normal(0, 0.1)) * random.lognormal(0, 0.1, moments)
    return (size[:, np.newaxis, np.newaxis] * random.normal(size=(moments, *SHAPE))).astype(np.float32), left


def _machines(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    parts = [_machine(random) for _ in range(count)]
    return np.concatenate([x for x, _ in parts]), np.concatenate([left for _, left in parts])


def _level(x: np.ndarray) -> np.ndarray:
    return np.log(np.sqrt(np.square(x).mean(axis=(1, 2))))


def _train(coverage: float) -> bytes:
    """A line through the logarithm of the effective value, and the quantiles of its errors on other machines."""
    x, left = _machines(1, 40)
    slope, start = np.polyfit(_level(x), left / LIFE_H, 1)
    x, left = _machines(2, 40)
    errors = left / LIFE_H - (slope * _level(x) + start)
    low, high = np.quantile(errors, [(1 - coverage) / 2, (1 + coverage) / 2])
    constants = {
        "slopes": np.full((1, 3), slope, np.float32),
        "starts": np.array([start, start + low, start + high], np.float32),
    }
    nodes = [
        helper.make_node("Mul", ["x", "x"], ["square"]),
        helper.make_node("ReduceMean", ["square"], ["mean"], axes=[2], keepdims=0),
        helper.make_node("Sqrt", ["mean"], ["effective"]),
        helper.make_node("Log", ["effective"], ["level"]),
        helper.make_node("MatMul", ["level", "slopes"], ["scaled"]),
        helper.make_node("Add", ["scaled", "starts"], ["life"]),
    ]
    graph = helper.make_graph(
        nodes,
        "life",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *SHAPE])],
        [helper.make_tensor_value_info("life", TensorProto.FLOAT, ["batch", 3])],
        initializer=[numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()
    )


async def test_a_machine_never_seen_has_its_hours_and_an_interval_that_holds_them(tmp_path: Path) -> None:
    reading = Reading(head="interval", coverage=0.9, unit="h", scale=LIFE_H, low=0.0, tolerance=20.0)
    schema = Schema(
        kind="regression", labels=[], input_shape=SHAPE, signal=Signal(channels=["a"], units=["g"]), reading=reading
    )
    host = ModelHost(OnnxSession.from_bytes)
    await host.activate("life", *place(tmp_path, _train(0.9), model="life", schema=schema))
    x, left = _machines(3, 20)
    samples = [Sample(id=f"s:{index}", x=each, at=0, ready=0) for index, each in enumerate(x)]
    with host.lease("life") as served:
        assert served is not None
        answers = infer(served, samples, Interpreter(threshold=0.5)).answers
    values = np.array([answer.value for answer in answers if answer and answer.value is not None])
    held = [answer.interval[0] <= hours <= answer.interval[1] for answer, hours in zip(answers, left, strict=True)
            if answer and answer.interval]  # fmt: skip
    assert len(values) == len(held) == len(x)
    assert {answer.unit for answer in answers if answer} == {"h"}
    assert np.abs(values - left).mean() < 0.1 * LIFE_H
    assert np.abs(values - left).mean() < 0.4 * np.abs(left.mean() - left).mean()  # against the same guess always
    assert 0.8 < np.mean(held) < 0.97
    await host.close()
