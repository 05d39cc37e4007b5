"""ONNX Runtime behind the session port, on exactly the execution provider that was asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as _state

from edge.inference.runtime import Array
from shared.errors import FaultError, TrustError
from shared.modelformat import Format, check_file

CPU = "CPUExecutionProvider"

_QUIET = 4
"""Severity of ONNX Runtime's own log (fatal only): its errors reach us as exceptions."""

_FAILURES: tuple[type[Exception], ...] = (
    *(kind for kind in vars(_state).values() if isinstance(kind, type) and issubclass(kind, Exception)),
    RuntimeError,
    ValueError,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxSettings:
    """How ONNX Runtime may use the machine."""

    threads: int = 1
    """Threads within one operator. Small models lose by more, and an agent has neighbours."""

    provider: str = CPU
    """Execution provider that must run the whole graph."""


class OnnxSession:
    """An ONNX model with one input, its batch axis first."""

    def __init__(self, session: ort.InferenceSession) -> None:
        self._session: Any = session
        self._providers = tuple(session.get_providers())
        inputs = session.get_inputs()
        if len(inputs) != 1 or inputs[0].type != "tensor(float)":
            raise FaultError(f"the model takes {[(i.name, i.type) for i in inputs]}, not one float input")
        self._input = inputs[0].name

    @classmethod
    def from_bytes(cls, data: bytes, settings: OnnxSettings | None = None) -> OnnxSession:
        """Check and load a self-contained model file.

        Raises:
            TrustError: the file reaches outside itself or asks for more than plain operators.
            FaultError: this machine cannot run it, or not on the provider asked for.
        """
        settings = settings or OnnxSettings()
        if check_file(data) is not Format.ONNX:
            raise TrustError("the file holds weights alone, without a graph to run")
        if settings.provider not in ort.get_available_providers():
            raise FaultError(
                f"this ONNX Runtime has no {settings.provider}",
                hint=f"Choose one of {', '.join(ort.get_available_providers())}, or install another build.",
            )
        try:
            session = ort.InferenceSession(data, _options(settings), providers=[settings.provider])
        except _FAILURES as error:
            raise FaultError(f"ONNX Runtime refused the model: {error}") from error
        if session.get_providers()[0] != settings.provider:
            raise FaultError(f"asked for {settings.provider}, got {session.get_providers()[0]}")
        return cls(session)

    @property
    def providers(self) -> tuple[str, ...]:
        return self._providers

    def run(self, batch: NDArray[np.float32]) -> list[Array]:
        session = self._session
        if session is None:
            raise FaultError("the session is closed")
        try:
            return list(session.run(None, {self._input: batch}))
        except _FAILURES as error:
            raise FaultError(f"inference failed: {error}") from error

    def close(self) -> None:
        self._session = None


def _options(settings: OnnxSettings) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = settings.threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _QUIET
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # spinning burns a neighbour's core
    if settings.provider != CPU:  # listed providers fall back to the CPU silently without this
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    return options
