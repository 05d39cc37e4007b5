"""A recording in a CSV file, at its own pace or as fast as it is taken."""

from __future__ import annotations

import asyncio
import csv
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TextIO

import numpy as np

from edge.pipelines.sources.sensors.port import Readings
from edge.pipelines.sources.sensors.resample import Floats
from edge.settings import sensors as conf
from shared.clock import Clock
from shared.errors import FaultError

ROWS = 2048
"""Lines read at once, in a thread."""

TICK_S = 0.02
"""Samples of this time are handed on together when a recording is played at its pace."""


class TableFeed:
    """Replays a file. What it says of time is kept; a file that loops goes on where it ended."""

    def __init__(
        self, settings: conf.CsvSource, *, clock: Clock, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._sleep = sleep
        self._first: float | None = None
        self._anchor = 0.0

    @property
    def patient(self) -> bool:
        return self._settings.speed == 0

    async def session(self) -> AsyncGenerator[Readings, None]:
        channels = tuple(range(len(self._settings.channels)))
        ahead = 0.0  # of a file that loops: seconds that its rounds so far have taken
        while True:
            began = ended = step = None
            with self._open() as file:
                rows = self._rows(file)
                while block := await asyncio.to_thread(_some, rows):
                    times = np.array([row[0] for row in block]) + ahead
                    values = np.array([row[1:] for row in block])
                    began = times[0] if began is None else began
                    step = times[-1] - ended if ended is not None and len(times) == 1 else _step(times, step)
                    ended = times[-1]
                    async for some in self._paced(times):
                        yield Readings(times[some], values[some], channels)
            if began is None or ended is None:
                raise FaultError(f"{self._settings.path} has no samples")
            if not self._settings.loop:
                return
            ahead += float(ended - began) + (step or 1.0)

    async def _paced(self, times: Floats) -> AsyncGenerator[slice, None]:
        """Parts of a block, each once it is due."""
        speed = self._settings.speed
        if speed == 0:
            yield slice(0, len(times))
            return
        if self._first is None:
            self._first, self._anchor = float(times[0]), self._clock.monotonic()
        due = self._anchor + (times - self._first) / speed
        start = 0
        while start < len(times):
            stop = max(start + 1, int(np.searchsorted(due, due[start] + TICK_S, "left")))
            await self._sleep(max(0.0, float(due[stop - 1]) - self._clock.monotonic()))
            yield slice(start, stop)
            start = stop

    def _open(self) -> TextIO:
        try:
            return Path(self._settings.path).open(newline="", encoding="utf-8-sig")
        except OSError as error:
            raise FaultError(f"no recording {self._settings.path}: {error.strerror}") from error

    def _rows(self, file: TextIO) -> Iterator[list[float]]:
        """Time and values of each line; NaN for what is no number."""
        reader = csv.reader(file, delimiter=self._settings.separator)
        try:
            head = next(reader, []) if self._settings.head else None
            columns = [_column(self._settings.path, head, each) for each in self._columns()]
            for line in reader:
                if line:
                    time, *values = (line[each] if each < len(line) else "" for each in columns)
                    yield [_time(time, self._settings.time_scale), *map(_number, values)]
        except (UnicodeDecodeError, csv.Error) as error:
            raise FaultError(f"{self._settings.path} is no table: {error}") from error

    def _columns(self) -> list[conf.Column]:
        channels = self._settings.channels
        return [self._settings.time, *(each.name if each.column is None else each.column for each in channels)]


def _some(rows: Iterator[list[float]]) -> list[list[float]]:
    return list(islice(rows, ROWS))


def _column(path: str, head: Sequence[str] | None, wanted: conf.Column) -> int:
    if isinstance(wanted, int):
        return wanted
    names = [name.strip() for name in head or ()]
    if wanted not in names:
        raise FaultError(
            f"{path} has no column {wanted[:40]!r}; there are {', '.join(names)[:200] or 'no names'}",
            hint="Give `column` as a name in the file's first line, or as a number from 0.",
        )
    return names.index(wanted)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return np.nan


def _time(text: str, scale: float) -> float:
    try:
        return float(text) * scale
    except ValueError:
        try:
            at = datetime.fromisoformat(text.strip())
        except ValueError:
            return np.nan
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def _step(times: Floats, before: float | None) -> float | None:
    return float(np.median(np.diff(times))) if len(times) > 1 else before
