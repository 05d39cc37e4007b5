"""Model files of plain operators that load, warm up and answer well, until they meet a picture of a certain kind.

Nothing in them is refused by `shared.modelfile`, which says itself that a small honest graph may still compute for
ever: what they do is the business of the model's process, and of whoever compares before promoting.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import numpy as np


class Trap(StrEnum):
    """What happens on a bright picture."""

    CRASH = "crash"
    """The least integer divided by minus one: the processor's own exception, which ends the process (SIGFPE)."""

    HANG = "hang"
    """A loop of 2⁶² turns."""

    HOG = "hog"
    """A tensor of 64 GiB."""


TURNS, FLOATS = 1 << 62, 1 << 34


def trapped(data: bytes, trap: Trap, *, threshold: float) -> bytes:
    """The classifier in `data` with a trap that opens when a picture's mean is above `threshold`."""
    import onnx
    from onnx import helper

    model = onnx.load_model_from_string(data)
    graph = model.graph
    logits = graph.output[0].name
    _rename(graph, logits, "honest")
    nodes, constants = _SPRINGS[trap]()
    constants += [_constant("threshold", np.float32(threshold)), _constant("nothing", np.float32(0))]
    graph.initializer.extend(constants)
    graph.node.extend(
        [
            helper.make_node("ReduceMean", ["x"], ["brightness"], axes=[1, 2, 3], keepdims=0),
            helper.make_node("ReduceMax", ["brightness"], ["brightest"], keepdims=0),
            helper.make_node("Greater", ["brightest", "threshold"], ["sprung"]),
            *nodes,  # from `sprung` to `spent`, a float scalar
            helper.make_node("Mul", ["spent", "nothing"], ["silent"]),
            helper.make_node("Add", ["honest", "silent"], [logits]),
        ]
    )
    return bytes(model.SerializeToString(deterministic=True))


def _crash() -> tuple[list[Any], list[Any]]:
    from onnx import TensorProto, helper

    least = np.iinfo(np.int32).min
    nodes = [
        helper.make_node("Where", ["sprung", "minus", "plus"], ["divisor"]),
        helper.make_node("Div", ["least", "divisor"], ["quotient"]),
        helper.make_node("Cast", ["quotient"], ["spent"], to=TensorProto.FLOAT),
    ]
    constants = [("minus", -1), ("plus", 1), ("least", least)]
    return nodes, [_constant(name, np.int32(value)) for name, value in constants]


def _hang() -> tuple[list[Any], list[Any]]:
    from onnx import TensorProto, helper

    body = helper.make_graph(
        [
            helper.make_node("Identity", ["going"], ["on"]),
            helper.make_node("Mul", ["carried", "half"], ["carried_on"]),
        ],
        "turn",
        [
            helper.make_tensor_value_info("number", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("carried", TensorProto.FLOAT, []),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("carried_on", TensorProto.FLOAT, []),
        ],
    )
    nodes = [
        helper.make_node("Where", ["sprung", "ever", "once"], ["turns"]),
        helper.make_node("Loop", ["turns", "yes", "half"], ["spent"], body=body),
    ]
    constants = [_constant("ever", np.int64(TURNS)), _constant("once", np.int64(1))]
    return nodes, [*constants, _constant("yes", np.bool_(True)), _constant("half", np.float32(0.5))]


def _hog() -> tuple[list[Any], list[Any]]:
    from onnx import helper

    nodes = [
        helper.make_node("Where", ["sprung", "much", "little"], ["size"]),
        helper.make_node("ConstantOfShape", ["size"], ["heap"]),
        helper.make_node("ReduceMax", ["heap"], ["spent"], keepdims=0),
    ]
    return nodes, [_constant("much", np.array([FLOATS])), _constant("little", np.array([1]))]


def _constant(name: str, value: Any) -> Any:
    from onnx import numpy_helper

    return numpy_helper.from_array(np.asarray(value), name)


def _rename(graph: Any, old: str, new: str) -> None:
    for node in graph.node:
        node.output[:] = [new if name == old else name for name in node.output]
        node.input[:] = [new if name == old else name for name in node.input]


_SPRINGS = {Trap.CRASH: _crash, Trap.HANG: _hang, Trap.HOG: _hog}
