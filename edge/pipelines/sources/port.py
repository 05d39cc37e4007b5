"""The port to where inputs come from: `replay` for recordings, `video` for files of frames."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from shared.bundle import Schema

Picture = Callable[[], NDArray[np.uint8]]
"""Gives the original image, RGB [height, width, 3]; made only when somebody looks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One input of a model."""

    id: str
    """`<stream>:<index>`; labels that come later refer to it."""

    x: NDArray[np.float32]
    """[*input_shape]."""

    at: float
    """Unix seconds when the input was ready."""

    ready: float
    """The same moment on the monotonic clock; latency counts from here."""

    phase: str = ""
    """Which recording a replayed input is from; empty on a live sensor."""

    picture: Picture | None = None


class Source(Protocol):
    """Gives inputs in order, as they become ready."""

    @property
    def dropped(self) -> int:
        """Inputs given up since the start because nobody took them in time."""
        ...

    def fit(self, schema: Schema) -> None:
        """Prepare inputs for a model with this schema from now on; cheap when nothing changes."""
        ...

    async def take(self, limit: int) -> list[Sample]:
        """Wait for an input, then return all that are ready, at most `limit`; an empty list ends the stream.

        Raises:
            FaultError: the source cannot be read.
        """
        ...

    async def close(self) -> None:
        """Stop and free what the source holds; a waiting `take` returns an empty list."""
        ...
