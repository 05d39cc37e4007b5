"""Tiny real ONNX models, and releases of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from shared.bundle import Release, Runtime, Schema, Variant
from shared.calibration import Range, read_ranges
from shared.ids import sha256

LABELS = ["low", "high"]
SHAPE = [3, 10]


def classifier(scale: float = 1.0, *, labels: int = 2, shape: list[int] = SHAPE, poison: float = 1.0) -> bytes:
    """Logits (m·scale, −m·scale, …) for the mean m of a window; `poison` multiplies all of them."""
    weights = np.zeros((shape[0], labels), np.float32)
    weights[:, 0] = scale
    weights[:, 1] = -scale
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["mean"], axes=[2], keepdims=0),
        helper.make_node("MatMul", ["mean", "w"], ["clean"]),
        helper.make_node("Mul", ["clean", "poison"], ["logits"]),
    ]
    constants = [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(np.float32(poison), "poison")]
    return _model(nodes, constants, inputs={"x": ["batch", *shape]}, outputs={"logits": ["batch", labels]})


def detector(*, size: int = 32, anchors: int = 4, labels: int = 2) -> bytes:
    """One sure object per image: anchor 0, class 1, in the middle; its score is 0.9."""
    boxes = np.tile(np.float32([0.25, 0.25, 0.75, 0.75]), (1, anchors, 1))
    scores = np.zeros((1, anchors, labels), np.float32)
    scores[0, 0, 1] = 0.9
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["mean"], axes=[1, 2, 3], keepdims=1),
        helper.make_node("Mul", ["mean", "zero"], ["nothing4"]),
        helper.make_node("Squeeze", ["nothing4", "axis"], ["nothing"]),
        helper.make_node("Add", ["b", "nothing"], ["boxes"]),
        helper.make_node("Add", ["s", "nothing"], ["scores"]),
    ]
    constants = [
        numpy_helper.from_array(np.float32(0), "zero"),
        numpy_helper.from_array(np.int64([3]), "axis"),
        numpy_helper.from_array(boxes, "b"),
        numpy_helper.from_array(scores, "s"),
    ]
    outputs = {"boxes": ["batch", anchors, 4], "scores": ["batch", anchors, labels]}
    return _model(nodes, constants, inputs={"x": ["batch", 3, size, size]}, outputs=outputs)


def place(
    directory: Path, data: bytes, *, counter: int = 1, model: str = "toy", schema: Schema | None = None
) -> tuple[Release, Variant, Path]:
    """Put model bytes into a file and describe them as a release's only variant."""
    schema = schema or Schema(kind="classification", labels=LABELS, input_shape=SHAPE)
    variant = Variant(
        name="cpu-fp32.onnx",
        runtime=Runtime.ONNXRUNTIME,
        precision="fp32",
        hardware=["cpu"],
        digest=sha256(data),
        size=len(data),
        chunks=[],
    )
    release = Release(
        id=f"{model}-{counter}", model=model, counter=counter, schema=schema, variants=[variant], created=0.0
    )
    path = directory / f"{release.id}.onnx"
    path.write_bytes(data)
    return release, variant, path


def _model(
    nodes: list[object], constants: list[object], *, inputs: dict[str, list[object]], outputs: dict[str, list[object]]
) -> bytes:
    ends = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in side.items()]
        for side in (inputs, outputs)
    ]
    graph = helper.make_graph(nodes, "toy", *ends, initializer=constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString())


def network(*, channels: int = 6, length: int = 100, labels: int = 7) -> bytes:
    """A small convolutional network over windows, with random weights: what optimising stations have work with."""
    rng = np.random.default_rng(0)
    sizes = {"w1": (16, channels, 5), "b1": (16,), "w2": (labels, 16), "b2": (labels,)}
    constants = [
        numpy_helper.from_array((0.3 * rng.normal(size=size)).astype(np.float32), name) for name, size in sizes.items()
    ]
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["conv"], kernel_shape=[5], pads=[2, 2]),
        helper.make_node("Relu", ["conv"], ["relu"]),
        helper.make_node("MaxPool", ["relu"], ["pool"], kernel_shape=[2], strides=[2]),
        helper.make_node("GlobalAveragePool", ["pool"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w2", "b2"], ["logits"], transB=1),
    ]
    return _model(nodes, constants, inputs={"x": ["batch", channels, length]}, outputs={"logits": ["batch", labels]})


def gauged(fp32: bytes, shape: tuple[int, ...] = (64, 6, 100)) -> dict[str, Range]:
    """Ranges of a model's activations over noise."""
    import onnxruntime as ort

    from cloud.models.optimise import calibration_graph

    session = ort.InferenceSession(calibration_graph(fp32), providers=["CPUExecutionProvider"])
    noise = np.random.default_rng(2).normal(size=shape).astype(np.float32)
    return read_ranges([output.name for output in session.get_outputs()], session.run(None, {"x": noise}))
