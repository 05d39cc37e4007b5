"""A session whose model is a Python function: the twin of the real runtimes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from edge.inference.runtime import Array
from shared.errors import FaultError


class MemorySession:
    """Runs `function` on batches whose single inputs have `input_shape`."""

    def __init__(
        self, function: Callable[[NDArray[np.float32]], Sequence[Array]], *, input_shape: Sequence[int]
    ) -> None:
        self._function = function
        self._shape = tuple(input_shape)
        self.closed = False
        self.runs = 0

    @property
    def providers(self) -> tuple[str, ...]:
        return ("memory",)

    def run(self, batch: NDArray[np.float32]) -> list[Array]:
        if self.closed:
            raise FaultError("the session is closed")
        if batch.dtype != np.float32 or batch.shape[1:] != self._shape:
            raise FaultError(f"a batch {batch.dtype}{list(batch.shape)} does not fit inputs {list(self._shape)}")
        self.runs += 1
        return list(self._function(batch))

    def close(self) -> None:
        self.closed = True
