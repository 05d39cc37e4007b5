"""Running a candidate file where it can be run, for the parity gate: processors, by ONNX Runtime and OpenVINO."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from io import BytesIO
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from cloud.models.optimise import calibration_graph, merge_ranges
from shared.bundle import Runtime
from shared.calibration import Range, read_ranges

CPU = "CPUExecutionProvider"


def lacks(runtime: Runtime) -> str:
    """Why files for `runtime` cannot be run on this machine; empty if they can."""
    if runtime is Runtime.ONNXRUNTIME:
        return ""
    if runtime is Runtime.OPENVINO:
        return "" if find_spec("openvino") else "openvino is not installed here"
    return "no such GPU is here"


def execute(data: bytes, runtime: Runtime, inputs: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """A file's answers to `inputs` [n, …], one at a time as a device asks; its sources are ours and need no proof."""
    run = _openvino(data) if runtime is Runtime.OPENVINO else _onnxruntime(data)
    answers = [run(inputs[at : at + 1]) for at in range(len(inputs))]
    return [np.concatenate(parts) for parts in zip(*answers, strict=True)]


def gauge(fp32: bytes, inputs: NDArray[np.float32]) -> dict[str, Range]:
    """Ranges of a model's activations over `inputs` [n, …].

    Raises:
        ContractError: not an ONNX model, or there are no inputs.
    """
    run, names = _onnxruntime(calibration_graph(fp32)), _outputs(calibration_graph(fp32))
    return merge_ranges([read_ranges(names, run(inputs[at : at + 1])) for at in range(len(inputs))])


def _outputs(data: bytes) -> list[str]:
    return [output.name for output in ort.InferenceSession(data, providers=[CPU]).get_outputs()]


def _onnxruntime(data: bytes) -> Any:
    session = ort.InferenceSession(data, providers=[CPU])
    name = session.get_inputs()[0].name
    return lambda batch: session.run(None, {name: batch})


def _openvino(data: bytes) -> Any:
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # it reports to Google, unasked
    import openvino as ov

    config = {"INFERENCE_PRECISION_HINT": "f32"}  # as devices run it
    compiled = ov.Core().compile_model(ov.Core().read_model(BytesIO(data)), "CPU", config)

    def run(batch: NDArray[np.float32]) -> Sequence[NDArray[np.float32]]:
        return [np.array(value) for value in compiled([batch]).values()]

    return run
