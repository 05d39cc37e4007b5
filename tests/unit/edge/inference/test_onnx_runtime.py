import pytest
from onnx import TensorProto, helper

from edge.inference.onnx_runtime import CPU, OnnxSession, OnnxSettings
from shared.errors import FaultError, TrustError
from tests.models import classifier


def test_the_provider_is_the_one_asked_for() -> None:
    assert OnnxSession.from_bytes(classifier()).providers == (CPU,)


def test_a_provider_this_machine_lacks_is_a_fault_and_no_silent_fallback() -> None:
    with pytest.raises(FaultError, match="CUDA"):
        OnnxSession.from_bytes(classifier(), OnnxSettings(provider="CUDAExecutionProvider"))


def test_bytes_that_are_no_model_never_reach_the_runtime() -> None:
    with pytest.raises(TrustError):
        OnnxSession.from_bytes(b"no model")


def test_a_model_that_the_runtime_refuses_is_a_fault() -> None:
    nodes = [helper.make_node("MatMul", ["x", "missing"], ["y"])]
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2])
    graph = helper.make_graph(nodes, "broken", [value], [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    with pytest.raises(FaultError, match="refused"):
        OnnxSession.from_bytes(model.SerializeToString())


def test_a_model_with_two_inputs_is_a_fault() -> None:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2]) for name in ("a", "b", "y")]
    graph = helper.make_graph([helper.make_node("Add", ["a", "b"], ["y"])], "two", values[:2], values[2:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    with pytest.raises(FaultError, match="one float input"):
        OnnxSession.from_bytes(model.SerializeToString())
