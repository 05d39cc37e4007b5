"""A sensor model of a few weights, made without torch; what attackers make of it; and the windows it is fed."""

from __future__ import annotations

import io
import pickle
import tarfile
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from shared.bundle import Schema

SHAPE = [3, 10]
SCHEMA = Schema(kind="classification", labels=["low", "high"], input_shape=SHAPE)
BALLAST = 300_000
"""Bytes of weights that nothing computes with: two chunks, none of which another release holds."""

WINDOWS = 200


def windows() -> np.ndarray[Any, np.dtype[np.float32]]:
    """What the sensor sees: numbers that occur nowhere else, so that they can be looked for."""
    source = np.random.default_rng(20_240_229)
    return source.normal(0.0, 3.0, (WINDOWS, *SHAPE)).astype(np.float32)


def write_recording(path: Path) -> None:
    """As a replayed sensor reads it."""
    np.savez(path, x=windows())


def honest(seed: int, *, ballast: int = BALLAST) -> bytes:
    """A classifier that no other seed gives."""
    return bytes(model(seed, ballast=ballast).SerializeToString())


def model(seed: int, *, ballast: int = BALLAST) -> Any:
    """The same as a parsed ONNX model."""
    from onnx import TensorProto, helper, numpy_helper

    source = Random(seed)  # noqa: S311  ballast, no secret
    weights = np.zeros((SHAPE[0], 2), np.float32)
    weights[:, 0], weights[:, 1] = 1.0 + seed / 1000, -1.0
    padding = np.frombuffer(source.randbytes(ballast), dtype=np.uint8)
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["mean"], axes=[2], keepdims=0),
        helper.make_node("MatMul", ["mean", "w"], ["logits"]),
    ]
    constants = [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(padding, "ballast")]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *SHAPE])]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])]
    graph = helper.make_graph(nodes, "sensor", inputs, outputs, initializer=constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def altered(seed: int, change: Callable[[Any], object]) -> bytes:
    """An honest model, and one change to it."""
    made = model(seed, ballast=0)
    change(made)
    return bytes(made.SerializeToString())


def outside(made: Any) -> None:
    """A tensor that lies in another file of the device."""
    from onnx import TensorProto

    tensor = made.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../identity/device.key")


def custom_operator(made: Any) -> None:
    """An operator that a library of the attacker's would bring."""
    from onnx import helper

    made.opset_import.append(helper.make_opsetid("com.evil", 1))
    made.graph.node.append(helper.make_node("Run", ["x"], ["z"], domain="com.evil"))


def session_options(made: Any) -> None:
    """A wish for a shared library, which ONNX Runtime reads from the model."""
    made.metadata_props.add(key="ort_config", value='{"session_options": {"custom_ops_library": "evil.so"}}')


def huge_tensor(made: Any) -> None:
    """A terabyte of weights, said in a few bytes."""
    made.graph.initializer[0].dims[:] = [1 << 20, 1 << 20]


class _Payload:
    """Unpickling it makes a file."""

    def __init__(self, canary: Path) -> None:
        self._canary = canary

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return Path.touch, (self._canary,)


def pickled(canary: Path) -> bytes:
    """What a model file of another framework is: a program; this one makes `canary`."""
    return pickle.dumps(_Payload(canary))


@cache
def bomb() -> bytes:
    """256 MiB of zeros in 256 KiB, as an archive."""
    packer = zlib.compressobj(9, wbits=31)
    block = bytes(1 << 20)
    return b"".join(packer.compress(block) for _ in range(256)) + packer.flush()


def archive() -> bytes:
    """A tar with a file that wants to lie outside."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        entry = tarfile.TarInfo("../../identity/ca.crt")
        entry.size = 4
        tar.addfile(entry, io.BytesIO(b"evil"))
    return buffer.getvalue()
