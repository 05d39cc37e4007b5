"""Tiny real ONNX models, and releases of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from shared.bundle import Release, Runtime, Schema, Variant
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
