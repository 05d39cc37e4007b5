"""A real model through the optimising station: gauged on "devices", quantised, run in ONNX Runtime."""

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from cloud.models.calibrate import activations
from cloud.models.onnx_file import infer_shapes, load
from cloud.models.optimise import calibration_graph, merge_ranges, quantise
from shared.calibration import Range, read_ranges, widen
from shared.errors import ContractError
from shared.modelfile import check_model
from shared.task import Examples, Moments, Recipe
from shared.tasks import adapter

ROOT = Path(__file__).parents[4]


def waves(devices: int, *, each: int) -> list[Examples]:
    """Seven gestures of different rhythm; every device has its own amplitude."""
    rng = np.random.default_rng(5)
    time = np.arange(100) / 50
    shares = []
    for device in range(devices):
        y = rng.integers(7, size=each)
        phase = rng.uniform(0, 2 * np.pi, (each, 6, 1))
        x = np.sin(2 * np.pi * (1 + 1.5 * y[:, None, None]) * time + phase) * (1 + device / 4)
        x += rng.normal(scale=0.2, size=x.shape)
        shares.append(Examples(x.astype(np.float32), y.astype(np.int64)))
    return shares


@pytest.fixture(scope="module")
def shares() -> list[Examples]:
    return waves(3, each=400)


@pytest.fixture(scope="module")
def fp32(shares: list[Examples]) -> bytes:
    """The activity network, trained for a second."""
    task = adapter("activity")
    x = np.concatenate([share.x for share in shares]).astype(np.float64)
    moments = Moments(count=x.shape[0] * x.shape[2], total=x.sum((0, 2)), square=(x**2).sum((0, 2)))
    everything = Examples(x.astype(np.float32), np.concatenate([share.y for share in shares]))
    recipe = Recipe(epochs=5, batch_size=32, learning_rate=0.02, seed=1)
    return task.to_onnx(task.train(task.initial(seed=1, moments=moments), everything, recipe).weights)


@pytest.fixture(scope="module")
def ranges(fp32: bytes, shares: list[Examples]) -> dict[str, Range]:
    session = ort.InferenceSession(calibration_graph(fp32))
    names = [output.name for output in session.get_outputs()]
    return merge_ranges(
        [
            widen(read_ranges(names, session.run(None, {"x": share.x[at : at + 100]})) for at in range(0, 400, 100))
            for share in shares
        ]
    )


def logits(model: bytes, x: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(ort.InferenceSession(model).run(["logits"], {"x": x})[0])


def test_the_calibration_graph_gauges_every_activation(
    fp32: bytes, ranges: dict[str, Range], shares: list[Examples]
) -> None:
    assert set(ranges) == set(activations(infer_shapes(load(fp32))))
    outputs = np.concatenate([logits(fp32, share.x) for share in shares])
    assert ranges["logits"] == pytest.approx((outputs.min(), outputs.max()), rel=1e-4)
    check_model(calibration_graph(fp32))


def test_int8_says_what_float_says(fp32: bytes, ranges: dict[str, Range]) -> None:
    fresh = waves(1, each=600)[0]
    first, second = logits(fp32, fresh.x), logits(quantise(fp32, ranges), fresh.x)
    assert (first.argmax(1) == fresh.y).mean() > 0.8  # the float model knows something to lose
    assert (first.argmax(1) == second.argmax(1)).mean() >= 0.97


def test_weights_are_seven_bit_integers_per_channel_within_the_file(fp32: bytes, ranges: dict[str, Range]) -> None:
    int8 = quantise(fp32, ranges)
    check_model(int8)
    model = onnx.load_model_from_string(int8)
    onnx.checker.check_model(model, full_check=True)
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    weights = [tensor for name, tensor in tensors.items() if name.endswith("weight_quantized")]
    assert len(weights) == 4
    for tensor in weights:
        assert tensor.data_type == TensorProto.INT8
        assert np.abs(numpy_helper.to_array(tensor).astype(int)).max() <= 64  # 128 overflows 16 bits on AVX2
        assert tensors[tensor.name.replace("quantized", "scale")].dims == [tensor.dims[0]]
    assert len(int8) < len(fp32) / 3


def test_equal_arguments_give_equal_bytes_in_any_process(fp32: bytes, ranges: dict[str, Range], tmp_path: Path) -> None:
    (tmp_path / "fp32.onnx").write_bytes(fp32)
    program = (
        "import hashlib, sys; from pathlib import Path; from cloud.models.optimise import quantise;"
        f"print(hashlib.sha256(quantise(Path(sys.argv[1]).read_bytes(), {ranges!r})).hexdigest())"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "fp32.onnx")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, env={"PYTHONHASHSEED": "11"})
    assert done.stdout.strip() == hashlib.sha256(quantise(fp32, ranges)).hexdigest()


def test_a_missing_range_or_model_is_refused(fp32: bytes, ranges: dict[str, Range]) -> None:
    fewer = {name: ends for name, ends in ranges.items() if name != "logits"}
    with pytest.raises(ContractError, match="logits"):
        quantise(fp32, fewer)
    for junk in (b"", b"\x80\x04pickle", fp32[: len(fp32) // 2]):
        with pytest.raises(ContractError):
            calibration_graph(junk)
        with pytest.raises(ContractError):
            quantise(junk, ranges)


def test_named_nodes_stay_float(fp32: bytes, ranges: dict[str, Range]) -> None:
    conv = next(node.name for node in load(fp32).graph.node if node.op_type == "Conv")
    kept = onnx.load_model_from_string(quantise(fp32, ranges, keep_float=[conv]))
    floats = {tensor.name for tensor in kept.graph.initializer if tensor.data_type == TensorProto.FLOAT}
    assert "conv1.weight" in floats
    assert "conv2.weight" not in floats
