"""A model as callers see it: names, types and shapes of what goes in and comes out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from edge.inference.served import Served
from shared.bundle import Runtime, Schema

INPUT = "x"
"""Name of a model's only input."""

OUTPUTS = {"classification": ("logits",), "detection": ("boxes", "scores"), "regression": ("value",)}
"""Names of a model's outputs, in the graph's order, by what kind of model it is."""

PLATFORMS = {
    Runtime.ONNXRUNTIME: "onnxruntime_onnx",
    Runtime.OPENVINO: "openvino",
    Runtime.TENSORRT: "tensorrt_plan",
    Runtime.TENSORRT_RTX: "tensorrt_rtx_plan",
}


def name_outputs(schema: Schema, outputs: Sequence[NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """A run's outputs by name."""
    names = OUTPUTS.get(schema.kind, ())
    if len(names) != len(outputs):
        names = tuple(f"output_{index}" for index in range(len(outputs)))
    return dict(zip(names, outputs, strict=True))


def version_of(served: Served) -> str:
    """A release's counter: the protocol's versions are numbers."""
    return str(served.release.counter)


def describe(model: str, served: Served) -> dict[str, Any]:
    """The protocol's model metadata; -1 in a shape is an axis of any length."""
    schema = served.schema
    return {
        "name": model,
        "versions": [version_of(served)],
        "platform": PLATFORMS[served.variant.runtime],
        "inputs": [{"name": INPUT, "datatype": "FP32", "shape": [-1, *schema.input_shape]}],
        "outputs": [
            {"name": name, "datatype": "FP32", "shape": _shape(name, schema)} for name in OUTPUTS.get(schema.kind, ())
        ],
        "parameters": {
            "release": served.release.id,
            "precision": served.variant.precision,
            "kind": schema.kind,
            "labels": schema.labels,
        },
    }


def _shape(name: str, schema: Schema) -> list[int]:
    shapes = {"logits": [-1, len(schema.labels)], "boxes": [-1, -1, 4], "scores": [-1, -1, len(schema.labels)]}
    return shapes[name]
