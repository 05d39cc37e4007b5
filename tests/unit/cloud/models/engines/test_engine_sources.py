"""The forms of one model, each run in ONNX Runtime against the float one."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto

from cloud.models.engines.sources import make_sources
from cloud.models.targets import ALL, parse_targets
from shared.modelfile import check_model
from tests.models import gauged, network


@pytest.fixture(scope="module")
def sources() -> dict[tuple[bool, str], bytes]:
    fp32 = network()
    return make_sources(fp32, parse_targets(ALL), ranges=gauged(fp32))


def run(model: bytes, x: np.ndarray) -> np.ndarray:
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": x})[0])


def test_every_form_says_nearly_what_the_float_one_says(sources: dict[tuple[bool, str], bytes]) -> None:
    x = np.random.default_rng(3).normal(size=(64, 6, 100)).astype(np.float32)
    truth = run(sources[False, "fp32"], x)
    assert set(sources) == {(False, "fp32"), (False, "int8"), (True, "fp32"), (True, "fp16"), (True, "int8")}
    for form, model in sources.items():
        check_model(model)  # a device would load it
        said = run(model, x)
        assert said.dtype == np.float32
        assert np.abs(said - truth).max() < 0.05 * np.ptp(truth), form


def test_int8_for_gpus_is_signed_symmetric_and_leaves_biases_alone(sources: dict[tuple[bool, str], bytes]) -> None:
    graph = onnx.load_model_from_string(sources[True, "int8"]).graph
    constants = {each.name: each for each in graph.initializer}
    pairs = [node for node in graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert pairs
    for node in pairs:
        zero = constants[node.input[2]]
        assert zero.data_type == TensorProto.INT8
        assert not np.any(onnx.numpy_helper.to_array(zero))


def test_without_ranges_there_is_no_int8() -> None:
    assert set(make_sources(network(), parse_targets(["cpu-fp32", "cpu-int8", "sm86-int8"]))) == {(False, "fp32")}
