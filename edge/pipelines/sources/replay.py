"""Recorded windows, replayed as if a sensor gave them now."""

from __future__ import annotations

import asyncio
import math
import zipfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge.pipelines.sources.port import Sample
from shared.bundle import Schema
from shared.clock import Clock
from shared.errors import FaultError
from shared.messages import Stall

PATIENCE = 2.0
"""Seconds behind its schedule after which a replay starts a new one: a pause is not caught up in a burst."""


@dataclass(frozen=True, slots=True)
class Recording:
    """Windows in the order they were recorded."""

    x: NDArray[np.float32]
    """[n, *input_shape]."""

    phases: tuple[str, ...]
    """Name of the recording each window is from, [n]; empty strings where nobody named one."""

    @classmethod
    def from_npz(cls, path: Path) -> Recording:
        """Read `x` and, if there, `phase` (strings or integers, one a window).

        Raises:
            FaultError: the file is missing, or not such a recording.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                x = np.ascontiguousarray(file["x"], dtype=np.float32)
                phases = tuple(str(phase) for phase in file["phase"]) if "phase" in file else ("",) * len(x)
        except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
            raise FaultError(f"{path} is no recording: {error}", hint="It needs an array x [n, …].") from error
        if not len(x) or len(phases) != len(x):
            raise FaultError(f"{path} holds {len(x)} windows and {len(phases)} phases")
        return cls(x, phases)


class ReplaySource:
    """A recording at a set rate. Nothing is skipped: whoever falls behind gets the next windows late."""

    def __init__(
        self,
        recording: Recording,
        *,
        stream: str,
        rate: float,
        clock: Clock,
        loop: bool = False,
        start: int = 0,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Replay `rate` windows a second from index `start`; ids go on growing when a recording loops."""
        self._recording = recording
        self._stream = stream
        self._rate = rate
        self._clock = clock
        self._sleep = sleep
        self._first = self._next = start
        self._end = math.inf if loop else len(recording.x)
        self._base = start
        self._anchor: float | None = None  # monotonic seconds at which window `_base` is due

    @property
    def received(self) -> int:
        return self._next - self._first

    @property
    def dropped(self) -> Mapping[str, int]:
        return {}

    def stalls(self) -> Sequence[Stall]:
        return ()

    def fit(self, schema: Schema) -> None:
        """Recordings are as they are."""

    async def take(self, limit: int) -> list[Sample]:
        if self._next >= self._end:
            return []
        anchor = await self._wait_for_next()
        if self._next >= self._end:  # closed meanwhile
            return []
        now, wall = self._clock.monotonic(), self._clock.now()
        ready = max(1, math.floor((now - anchor) * self._rate + 1e-9) + self._base + 1 - self._next)
        stop = int(min(self._next + min(ready, limit), self._end))
        samples = [self._sample(index, due=self._due(index, anchor), now=now, wall=wall) for index in self._range(stop)]
        self._next = stop
        return samples

    async def close(self) -> None:
        self._end = self._next

    async def _wait_for_next(self) -> float:
        now = self._clock.monotonic()
        if self._anchor is None or now - self._due(self._next, self._anchor) > PATIENCE:
            self._base, self._anchor = self._next, now
        early = self._due(self._next, self._anchor) - now
        if early > 0:
            await self._sleep(early)
        return self._anchor

    def _due(self, index: int, anchor: float) -> float:
        return anchor + (index - self._base) / self._rate

    def _range(self, stop: int) -> range:
        return range(self._next, stop)

    def _sample(self, index: int, *, due: float, now: float, wall: float) -> Sample:
        at = index % len(self._recording.x)
        return Sample(
            id=f"{self._stream}:{index}",
            x=self._recording.x[at],
            at=wall - max(0.0, now - due),
            ready=min(due, now),
            phase=self._recording.phases[at],
        )
