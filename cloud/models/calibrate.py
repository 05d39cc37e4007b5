"""The float model with a gauge on every activation: plain ONNX that needs nothing but ONNX Runtime on a device."""

from __future__ import annotations

from typing import Any

from onnx import TensorProto, helper

from cloud.models.onnx_file import infer_shapes, load, save
from shared.calibration import GREATEST, LEAST

QUANTISED = frozenset({"Conv", "Gemm", "MatMul", "Relu", "Clip", "MaxPool", "AveragePool", "GlobalAveragePool", "Add"})
"""Operators that compute in int8, and whose inputs and outputs therefore need a range."""

PASSING = frozenset({"Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Concat"})
"""Operators that only move values: int8 passes through them."""


def calibration_graph(fp32: bytes) -> bytes:
    """The model with outputs `least:<tensor>` and `greatest:<tensor>` (float scalars) in place of its own.

    The input keeps its name and shape. One run gives the ranges of one batch; `shared.calibration` reads them.

    Raises:
        ContractError: not an ONNX model.
    """
    model = infer_shapes(load(fp32))
    graph = model.graph
    gauged = activations(model)
    del graph.output[:]
    for name in gauged:
        for prefix, operator in ((LEAST, "ReduceMin"), (GREATEST, "ReduceMax")):
            graph.node.append(helper.make_node(operator, [name], [prefix + name], name=prefix + name, keepdims=0))
            graph.output.append(helper.make_tensor_value_info(prefix + name, TensorProto.FLOAT, []))
    del graph.value_info[:]
    return save(model)


def activations(model: Any) -> list[str]:
    """Names of the float tensors that quantisation must know a range of, in the graph's order."""
    graph = model.graph
    constants = {initializer.name for initializer in graph.initializer}
    kinds = {info.name: info.type.tensor_type.elem_type for info in (*graph.input, *graph.value_info, *graph.output)}
    names = dict.fromkeys(
        name
        for node in graph.node
        if node.op_type in QUANTISED | PASSING
        for name in (*node.input, *node.output)
        if name and name not in constants and kinds.get(name) == TensorProto.FLOAT
    )
    return list(names)
