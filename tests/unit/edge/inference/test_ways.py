import pytest

from edge.inference.memory_runtime import MemorySession
from edge.inference.runtime import way
from edge.inference.ways import find_ways
from shared.bundle import Runtime
from shared.errors import FaultError

ORT, VINO, RTX = Runtime.ONNXRUNTIME, Runtime.OPENVINO, Runtime.TENSORRT_RTX


def test_what_is_there_is_taken_in_the_owners_order() -> None:
    ways = find_ways([RTX, VINO, ORT], hardware=["cpu", "sm86"], version=lambda runtime: "1")
    assert ways.runtimes == (RTX, VINO, ORT)
    assert not ways.lacking


def test_what_is_not_there_is_said_with_its_reason() -> None:
    ways = find_ways([RTX, VINO, ORT], hardware=["cpu"], version=lambda runtime: None)
    assert ways.runtimes == (ORT,)
    assert "agent.hardware" in ways.lacking[RTX]
    assert ways.lacking[VINO] == "openvino is not installed"


def test_with_nothing_else_onnx_runtime_is_left_and_the_loss_is_told() -> None:
    ways = find_ways([VINO], hardware=["cpu"], version=lambda runtime: None)
    assert ways.runtimes == (ORT,)
    assert set(ways.lacking) == {VINO}


def test_a_file_for_a_runtime_that_is_not_here_is_never_given_to_another_one() -> None:
    def load(data: bytes) -> MemorySession:
        return MemorySession(lambda batch: [batch], input_shape=[1])

    assert way({ORT: load}, ORT) is load
    with pytest.raises(FaultError, match="the file is for openvino"):
        way({ORT: load}, VINO)
