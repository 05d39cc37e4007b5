"""OpenVINO behind the session port, on the processor: the same ONNX files as ONNX Runtime's, other kernels."""

from __future__ import annotations

import sys
import threading
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge.inference.runtime import Array
from shared.errors import FaultError, TrustError
from shared.modelformat import Format, check_file

if TYPE_CHECKING:
    import openvino as ov
    from openvino.frontend import FrontEnd

DEVICE = "CPU"


class Opened(NamedTuple):
    """What compiles models, and what reads ONNX."""

    core: ov.Core
    reader: FrontEnd


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenVinoSettings:
    """How OpenVINO may use the machine."""

    threads: int = 1
    """Threads for one inference."""


class OpenVinoSession:
    """An ONNX model with one input, its batch axis first. Several threads take turns."""

    def __init__(self, compiled: ov.CompiledModel) -> None:
        inputs = compiled.inputs
        if len(inputs) != 1 or inputs[0].get_element_type().get_type_name() != "f32":
            raise FaultError(f"the model takes {[str(each) for each in inputs]}, not one float input")
        self._shape = inputs[0].get_partial_shape()
        self._request: Any = compiled.create_infer_request()
        self._lock = threading.Lock()
        self._providers = tuple(f"OpenVINO:{device}" for device in compiled.get_property("EXECUTION_DEVICES"))

    @classmethod
    def from_bytes(
        cls, data: bytes, settings: OpenVinoSettings | None = None, *, opened: Opened | None = None
    ) -> OpenVinoSession:
        """Check and compile a self-contained model file.

        Args:
            data: the file.
            settings: how the machine may be used.
            opened: parts that were opened before, for a process that may open nothing any more.

        Raises:
            TrustError: the file reaches outside itself or asks for more than plain operators.
            FaultError: OpenVINO cannot run it, or not on this machine's processor alone.
        """
        settings = settings or OpenVinoSettings()
        if check_file(data) is not Format.ONNX:
            raise TrustError("the file holds weights alone, without a graph to run")
        config = {
            "INFERENCE_NUM_THREADS": settings.threads,
            "NUM_STREAMS": 1,
            "INFERENCE_PRECISION_HINT": "f32",  # processors with bfloat16 would use it unasked, and answer differently
            "ENABLE_CPU_PINNING": False,  # an agent has neighbours
        }
        core, reader = opened or open_parts()
        try:
            compiled = core.compile_model(reader.convert(reader.load(BytesIO(data))), DEVICE, config)
            devices = compiled.get_property("EXECUTION_DEVICES")
        except RuntimeError as error:
            raise FaultError(f"OpenVINO refused the model: {_line(error)}") from error
        if devices != [DEVICE]:
            raise FaultError(f"asked for {DEVICE}, got {devices}")
        return cls(compiled)

    @property
    def providers(self) -> tuple[str, ...]:
        return self._providers

    def run(self, batch: NDArray[np.float32]) -> list[Array]:
        with self._lock:
            request = self._request
            if request is None:
                raise FaultError("the session is closed")
            if batch.dtype != np.float32 or not _fits(self._shape, batch.shape):
                raise FaultError(f"a batch {batch.dtype}{list(batch.shape)} does not fit inputs {self._shape}")
            try:
                answer = request.infer([batch], share_inputs=True)
            except RuntimeError as error:
                raise FaultError(f"inference failed: {_line(error)}") from error
            return [np.array(value) for value in answer.values()]  # the request writes its next answer over it

    def close(self) -> None:
        with self._lock:
            self._request = None


def open_parts() -> Opened:
    """Find and open what OpenVINO keeps in files of its own.

    Raises:
        FaultError: it is not installed.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # it reports to Google, unasked
    try:
        import openvino as ov
        from openvino.frontend import FrontEndManager
    except ImportError as error:
        raise FaultError("OpenVINO is not installed", hint="pip install 'hinterland[openvino]'") from error
    return Opened(ov.Core(), FrontEndManager().load_by_framework("onnx"))


def _fits(shape: Any, batch: tuple[int, ...]) -> bool:
    """Whether a batch's shape is one of those that a model leaves open."""
    open_ = [None if axis.is_dynamic else axis.get_length() for axis in shape]
    return len(open_) == len(batch) and all(axis in (None, size) for axis, size in zip(open_, batch, strict=True))


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
