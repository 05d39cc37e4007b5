"""The TF.js graph of SSDLite-MobileNetV2 as one ONNX graph.

The original graph resizes and scales in a loop over images, and suppresses overlapping boxes; both are cut off. What
is left has the input `x` and, with the boxes decoded and the background class dropped, the outputs of
`simulations.detector.labels.SCHEMA`. Box coding: W. Liu et al., “SSD: Single Shot MultiBox Detector”, 2016, §2.2.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper

from simulations.detector.labels import ANCHORS, COCO, SIDE
from simulations.detector.layers import Activation, Layers
from simulations.detector.tfjs import GraphModel

OPSET = 17
IR_VERSION = 8  # the one of opset 17: older runtimes refuse newer files
ENTRY = "Preprocessor/sub"
"""Where the scaled image enters the network."""

HEADS = 6
"""Predictors, on feature maps of 19, 10, 5, 3, 2 and 1 cells a side."""

CLASSES = len(COCO) + 1
"""With the background, which comes first."""

ANCHOR_BOXES = "Postprocessor/ExpandDims"
CENTRE_SCALE = "ConstantFolding/Postprocessor/Decode/div_recip"
SIZE_SCALE = "ConstantFolding/Postprocessor/Decode/div_2_recip"

DECODING = (
    "encodings", "centre_code", "size_code", "centre_step", "centre", "size_step", "size_factor", "half", "low", "high",
    "boxes", "logits", "probabilities", "scores",
)  # fmt: skip  # names, read in rows
"""Nodes that must stay in float: an exponential of 256 steps places boxes badly."""


def convert(model: GraphModel) -> bytes:
    """ONNX bytes of the detector; the same for the same model.

    Raises:
        ContractError: it is another graph.
    """
    layers = Layers(model, entry=ENTRY, source=Activation(name="x", side=SIDE))
    boxes = [_head(layers, f"BoxPredictor_{index}/BoxEncodingPredictor", 4) for index in range(HEADS)]
    scores = [_head(layers, f"BoxPredictor_{index}/ClassPredictor", CLASSES) for index in range(HEADS)]
    _decode_boxes(layers, model, boxes)
    _decode_scores(layers, scores)
    graph = helper.make_graph(
        layers.nodes,
        "ssdlite_mobilenet_v2_coco",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, SIDE, SIDE])],
        [
            helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["batch", ANCHORS, 4]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", ANCHORS, len(COCO)]),
        ],
        layers.initializers,
    )
    made = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="hinterland"
    )
    onnx.checker.check_model(made, full_check=True)
    return bytes(made.SerializeToString(deterministic=True))


def _head(layers: Layers, name: str, width: int) -> str:
    """One predictor's output as [batch, cells · anchors per cell, width], cells row by row."""
    source = layers.activation(f"{name}/BiasAdd")
    rows = layers.node("Transpose", [source.name], f"{name}/rows", perm=[0, 2, 3, 1])
    shape = layers.constant(f"{name}/shape", np.array([0, -1, width], np.int64))
    return layers.node("Reshape", [rows, shape], f"{name}/flat")


def _decode_boxes(layers: Layers, model: GraphModel, heads: list[str]) -> None:
    """Centre and size, coded relative to the anchors, to corners."""
    anchors = model.constants[ANCHOR_BOXES].reshape(1, ANCHORS, 4)
    size = anchors[:, :, 2:] - anchors[:, :, :2]
    centre = layers.constant("anchor_centre", (anchors[:, :, :2] + anchors[:, :, 2:]) / np.float32(2))
    step = layers.constant("anchor_step", size * np.float32(model.constants[CENTRE_SCALE]))
    half = layers.constant("anchor_half", size / np.float32(2))
    scale = layers.constant("size_scale", np.float32(model.constants[SIZE_SCALE]))
    code = layers.node("Concat", heads, "encodings", axis=1)
    _slice(layers, code, "centre_code", first=0, last=2)
    _slice(layers, code, "size_code", first=2, last=4)
    layers.node("Mul", ["centre_code", step], "centre_step")
    layers.node("Add", ["centre_step", centre], "centre")
    layers.node("Mul", ["size_code", scale], "size_step")
    layers.node("Exp", ["size_step"], "size_factor")
    layers.node("Mul", ["size_factor", half], "half")
    layers.node("Sub", ["centre", "half"], "low")
    layers.node("Add", ["centre", "half"], "high")
    layers.node("Concat", ["low", "high"], "boxes", axis=2)


def _decode_scores(layers: Layers, heads: list[str]) -> None:
    layers.node("Concat", heads, "logits", axis=1)
    layers.node("Sigmoid", ["logits"], "probabilities")
    _slice(layers, "probabilities", "scores", first=1, last=CLASSES)


def _slice(layers: Layers, source: str, output: str, *, first: int, last: int) -> None:
    """Cut the last of three axes."""
    ends = {"first": first, "last": last, "axis": 2}
    inputs = [layers.constant(f"{output}/{name}", np.array([value], np.int64)) for name, value in ends.items()]
    layers.node("Slice", [source, *inputs], output)
