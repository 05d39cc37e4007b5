"""The port to where samples come from: one file for each protocol in `feeds`."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import NamedTuple, Protocol

from edge.pipelines.sources.sensors.resample import Floats


class Readings(NamedTuple):
    """Samples that came together."""

    times: Floats
    """Unix seconds, [n]."""

    values: Floats
    """As they were given, [n, channels]; NaN for what could not be read."""

    channels: tuple[int, ...]
    """Which of the settings' channels these are."""


class Feed(Protocol):
    """Samples of one sensor, in the order of their arrival."""

    @property
    def patient(self) -> bool:
        """Whether it waits for windows to be taken instead of pushing old ones out: a recording does."""
        ...

    def session(self) -> AsyncGenerator[Readings, None]:
        """Open the sensor and give samples until a recording is over; called anew after a pause when it fails.

        Raises:
            TransportError: it cannot be reached, or fell away; another session may do better.
            FaultError: no session ever will: a file is no such recording, a library is missing.
        """
        ...
