"""The port to whatever executes a model.

`edge.inference.onnx_runtime` is the real one, `edge.inference.memory_runtime` its twin for tests;
`tests/contract/test_session.py` runs against both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from shared.bundle import Runtime
from shared.errors import FaultError

Array = NDArray[Any]


class Session(Protocol):
    """One loaded model. Any thread may run it, several at once."""

    @property
    def providers(self) -> tuple[str, ...]:
        """What executes the graph, by the runtime's own names, the preferred one first."""
        ...

    def run(self, batch: NDArray[np.float32]) -> list[Array]:
        """Infer a batch [n, *input_shape]; each output is [n, ...], in the graph's order.

        Raises:
            FaultError: the batch does not fit the model, the runtime failed, or the session is closed.
        """
        ...

    def close(self) -> None:
        """Free the model; may be called again. No `run` may be under way or follow."""
        ...


@runtime_checkable
class Mortal(Protocol):
    """A session whose model runs in a process that may end."""

    ends: int
    """Times in a row that it ended by itself or had to be killed."""

    last_end: str
    """Why it ended last; empty while it never did."""

    @property
    def pid(self) -> int:
        """Id of the process that has the model now."""
        ...


Load = Callable[[bytes], Session]
"""Builds a session from a model file's bytes; raises `TrustError` for a model that must not be parsed, and
`FaultError` for one that this machine cannot run."""

Loads = Load | Mapping[Runtime, Load]
"""One way for all files, or one for each runtime that this device has."""


def way(loads: Loads, runtime: Runtime) -> Load:
    """What loads files for `runtime`.

    Raises:
        FaultError: this device has no such runtime; another one is never taken in its place.
    """
    if not isinstance(loads, Mapping):
        return loads
    if runtime not in loads:
        raise FaultError(f"the file is for {runtime}, and this device has {', '.join(loads) or 'nothing'}")
    return loads[runtime]
