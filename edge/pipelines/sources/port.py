"""The port to where inputs come from: one file for each kind, `frames` for all that gives pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from shared.bundle import Schema
from shared.messages import Stall

Picture = Callable[[], NDArray[np.uint8]]
"""Gives the original image, RGB [height, width, 3]; made only when somebody looks."""


class Drop(StrEnum):
    """Why an input was not inferred."""

    LATE = "late"
    """The queue was full: newer ones pushed it out."""

    SURPLUS = "surplus"
    """More came than the rate that the settings ask for."""

    STILL = "still"
    """Nothing moved."""

    SKIPPED = "skipped"
    """Left out on purpose to keep up."""

    FROZEN = "frozen"
    """The same picture as for some time now."""

    BROKEN = "broken"
    """Not decodable, or not of the model's shape."""

    WITHHELD = "withheld"
    """Nobody knows what must be hidden in it: the fleet's privacy masks cannot be understood."""

    STOPPED = "stopped"
    """Still waiting when the pipeline ended."""


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
    def received(self) -> int:
        """Inputs that have come since the start: those handed on by `take`, those dropped, those that wait."""
        ...

    @property
    def dropped(self) -> Mapping[str, int]:
        """Inputs given up since the start, by `Drop`; never less than a moment ago."""
        ...

    def stalls(self) -> Sequence[Stall]:
        """What the watchdog noticed, or saw end, since the last call."""
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
        """Stop and free what the source holds; a waiting `take` returns an empty list.

        Afterwards nothing waits: what was `received` has been taken or `dropped`.
        """
        ...
