"""ONNX files in memory."""

from __future__ import annotations

from typing import Any

import onnx
from google.protobuf.message import DecodeError
from onnx import shape_inference

from shared.errors import ContractError


def load(data: bytes) -> Any:
    """Parse a self-contained model into a `ModelProto`.

    Raises:
        ContractError: not an ONNX model.
    """
    try:
        model = onnx.load_model_from_string(data)
    except (DecodeError, ValueError) as error:
        raise ContractError(f"no ONNX model: {error}") from error
    if not model.graph.node:
        raise ContractError("no ONNX model: it has no graph")  # protobuf reads no bytes at all as an empty message
    return model


def infer_shapes(model: Any) -> Any:
    """The model with type and shape of every tensor that ONNX can tell.

    Raises:
        ContractError: the graph contradicts itself.
    """
    try:
        return shape_inference.infer_shapes(model, check_type=True)
    except (shape_inference.InferenceError, RuntimeError) as error:
        raise ContractError(f"the model contradicts itself: {error}") from error


def save(model: Any) -> bytes:
    """The same bytes for the same model."""
    return bytes(model.SerializeToString(deterministic=True))
