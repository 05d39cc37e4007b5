"""Trees over window statistics as an ONNX graph of plain operators, which every runtime has.

ONNX has operators for trees in a domain of its own (`ai.onnx.ml`). Those walk node by node where a file's indices lead
them; here a step is two `Gather`s and a comparison, for all trees at once, and the loop is written out. So devices need
to trust no operator more than they did, and TensorRT and OpenVINO can run it, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.tasks.trees.tables import FEATURE, LEAF, THRESHOLD, Shape

OPSET = 17
IR_VERSION = 8
"""The pair of one ONNX release; ONNX Runtime on old devices reads it."""


def to_onnx(
    weights: Mapping[str, NDArray[np.float32]], shape: Shape, *, name: str, input_shape: tuple[int, int]
) -> bytes:
    """Input `x` [batch, channels, samples] float32, output `logits` [batch, classes]."""
    from onnx import TensorProto, helper, numpy_helper

    trees = shape.check(weights)
    constants = {
        "feature": weights[FEATURE].reshape(-1).astype(np.int64),
        "threshold": weights[THRESHOLD].reshape(-1),
        "leaf": weights[LEAF].reshape(-1, shape.classes),
        "first_node": np.arange(trees, dtype=np.int64) * shape.nodes,
        "first_leaf": np.arange(trees, dtype=np.int64) * shape.leaves - shape.nodes,
        "one": np.array(1, dtype=np.int64),
        "two": np.array(2, dtype=np.int64),
        "trees_axis": np.array([1], dtype=np.int64),
        "time_axis": np.array([2], dtype=np.int64),
    }
    graph = helper.make_graph(
        [*_statistics(helper, TensorProto), *_steps(helper, TensorProto, shape.depth)],
        name,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *input_shape])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", shape.classes])],
        [numpy_helper.from_array(np.ascontiguousarray(values), each) for each, values in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    return bytes(model.SerializeToString(deterministic=True))


def _statistics(helper: Any, kinds: Any) -> list[Any]:
    """`table` [batch, features]: as `shared.tasks.trees.task.window_table` has it, in double precision like there."""
    return [
        helper.make_node("Cast", ["x"], ["wide"], to=kinds.DOUBLE),
        helper.make_node("ReduceMean", ["wide"], ["means"], axes=[2], keepdims=1),
        helper.make_node("Sub", ["wide", "means"], ["around"]),
        helper.make_node("Mul", ["around", "around"], ["squares"]),
        helper.make_node("ReduceMean", ["squares"], ["variance"], axes=[2], keepdims=0),
        helper.make_node("Sqrt", ["variance"], ["wide_deviation"]),
        helper.make_node("Squeeze", ["means", "time_axis"], ["wide_mean"]),
        helper.make_node("Cast", ["wide_mean"], ["mean"], to=kinds.FLOAT),
        helper.make_node("Cast", ["wide_deviation"], ["deviation"], to=kinds.FLOAT),
        helper.make_node("ReduceMin", ["x"], ["least"], axes=[2], keepdims=0),
        helper.make_node("ReduceMax", ["x"], ["greatest"], axes=[2], keepdims=0),
        helper.make_node("Concat", ["mean", "deviation", "least", "greatest"], ["table"], axis=1),
    ]


def _steps(helper: Any, kinds: Any, depth: int) -> list[Any]:
    """From every root to a leaf; `at` is [batch, trees], or [trees] before the first step."""
    nodes, at = [], "first_node"
    place = ""
    for step in range(depth):
        asked, value, bound = f"asked{step}", f"value{step}", f"bound{step}"
        nodes += [
            helper.make_node("Gather", ["feature", at], [asked]),
            helper.make_node("Gather", ["threshold", at], [bound]),
            # the first step asks the same of every row
            helper.make_node("Gather", ["table", asked], [value], axis=1)
            if step == 0
            else helper.make_node("GatherElements", ["table", asked], [value], axis=1),
            helper.make_node("Less", [value, bound], [f"left{step}"]),
            helper.make_node("Not", [f"left{step}"], [f"right{step}"]),
            helper.make_node("Cast", [f"right{step}"], [f"turn{step}"], to=kinds.INT64),
            helper.make_node("Add", [f"turn{step}", "one"], [f"child{step}"]),
        ]
        if place:
            nodes += [
                helper.make_node("Mul", [place, "two"], [f"twice{step}"]),
                helper.make_node("Add", [f"twice{step}", f"child{step}"], [f"place{step}"]),
            ]
            place = f"place{step}"
        else:
            place = f"child{step}"
        offset = "first_node" if step < depth - 1 else "first_leaf"
        at = f"at{step}"
        nodes.append(helper.make_node("Add", [place, offset], [at]))
    return [
        *nodes,
        helper.make_node("Gather", ["leaf", at], ["reached"]),
        helper.make_node("ReduceSum", ["reached", "trees_axis"], ["logits"], keepdims=0),
    ]
