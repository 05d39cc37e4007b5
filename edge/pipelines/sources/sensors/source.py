"""A sensor as a source: its feed is read in a task of its own, and what windows it gives wait for the model."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from random import Random

from edge.pipelines.sources.port import Drop, Sample
from edge.pipelines.sources.sensors.fitting import Fit, fit_windows
from edge.pipelines.sources.sensors.port import Feed, Readings
from edge.pipelines.sources.sensors.watch import Watch
from edge.pipelines.sources.sensors.windows import Made, Windows
from edge.settings import sensors as conf
from shared.backoff import Backoff
from shared.bundle import Schema
from shared.clock import Clock
from shared.errors import FaultError, TransportError
from shared.messages import Stall

log = logging.getLogger(__name__)

FIRST_S, MOST_S = 0.5, 30.0
"""Seconds between two tries to reach a sensor, at first and at most."""

AGAIN_S = 0.5
"""Seconds after which a reader that goes on is cancelled once more."""

CHECK_S = 0.25
"""Seconds between looks of the watchdog."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SensorParts:
    """What a sensor source is made of."""

    feed: Feed
    channels: Sequence[conf.Channel]
    window: conf.Window
    stream: str
    clock: Clock
    random: Random
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


class SensorSource:
    """Windows of one sensor. Belongs to one event loop."""

    def __init__(self, parts: SensorParts) -> None:
        self._parts = parts
        self._window = parts.window
        self._watch = Watch(
            [each.name for each in parts.channels], silent_s=parts.window.silent_s, frozen_s=parts.window.frozen_s
        )
        self._schema: Schema | None = None
        self._fit: Fit | None = None
        self._windows: Windows | None = None
        self._queue: deque[Sample] = deque()
        self._dropped: Counter[str] = Counter()
        self._received = 0
        self._ended = False
        self._fault: FaultError | None = None
        self._news, self._room = asyncio.Event(), asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def received(self) -> int:
        return self._received

    @property
    def dropped(self) -> Mapping[str, int]:
        return self._dropped

    @property
    def windows(self) -> Windows | None:
        """The engine, for its counts; None before the first model came."""
        return self._windows

    def stalls(self) -> Sequence[Stall]:
        return self._watch.told()

    def fit(self, schema: Schema) -> None:
        if self._schema is not None and _shape(schema) == _shape(self._schema):
            return
        self._schema = schema
        self._fit = fit_windows(self._parts.channels, self._window, schema)
        if self._windows is None or self._windows.settings != self._fit.windows:
            self._windows = Windows(self._fit.windows)
            self._drop(Drop.BROKEN, len(self._queue))  # of the shape, or the units, of the model before

    async def take(self, limit: int) -> list[Sample]:
        if not self._tasks and not self._ended:
            self._start()
        while not self._queue:
            if self._fault:
                raise self._fault
            if self._ended:
                return []
            self._news.clear()
            await self._news.wait()
        taken = [self._queue.popleft() for _ in range(min(limit, len(self._queue)))]
        self._room.set()
        return taken

    async def close(self) -> None:
        self._ended = True
        pending = set(self._tasks)
        while pending:  # on Python 3.11 `wait_for`, which libraries use, may swallow a cancellation
            for task in pending:
                task.cancel()
            _, pending = await asyncio.wait(pending, timeout=AGAIN_S)
        self._drop(Drop.STOPPED, len(self._queue))
        self._news.set()
        if self._windows is not None and (lost := self._windows.lost.total()):
            why = ", ".join(f"{name} {count}" for name, count in sorted(self._windows.lost.items()))
            log.info("%s: of %d samples and %d points, lost %d: %s", self._parts.stream, self._windows.given,
                     self._windows.points, lost, why)  # fmt: skip

    def _start(self) -> None:
        self._watch.began(at=self._parts.clock.monotonic())
        self._tasks = [
            asyncio.create_task(self._read(), name=f"read-{self._parts.stream}"),
            asyncio.create_task(self._check(), name=f"watch-{self._parts.stream}"),
        ]

    async def _read(self) -> None:
        """Sessions, one after the other, until a recording is over or nothing will help."""
        backoff = Backoff(first_s=FIRST_S, most_s=MOST_S, random=self._parts.random)
        try:
            while True:
                try:
                    async with aclosing(self._parts.feed.session()) as session:
                        async for readings in session:
                            backoff.reset()
                            await self._put(readings)
                    break
                except TransportError as error:
                    pause = backoff.next()
                    log.warning("%s: %s; next try in %.1f s", self._parts.stream, error, pause)
                    clock = self._parts.clock
                    self._watch.lost(str(error), at=clock.monotonic(), now=clock.now())
                    await self._parts.sleep(pause)
        except FaultError as error:
            self._fault = error
        except Exception as error:  # a feed's own bug must end in the pipeline's state, not in a forgotten task
            log.exception("%s: the sensor's reader failed", self._parts.stream)
            self._fault = FaultError(f"the sensor's reader failed: {error}")
        finally:
            self._ended = True
            self._news.set()

    async def _check(self) -> None:
        clock = self._parts.clock
        while True:
            await asyncio.sleep(CHECK_S)
            if not self._ended:
                self._watch.check(at=clock.monotonic(), now=clock.now())

    async def _put(self, readings: Readings) -> None:
        clock = self._parts.clock
        self._watch.seen(readings.channels, readings.values, at=clock.monotonic(), now=clock.now())
        windows, fit = self._windows, self._fit
        if windows is None or fit is None:
            return
        wanted = [(column, fit.columns[each]) for column, each in enumerate(readings.channels) if each in fit.columns]
        if not wanted:
            return
        columns, places = zip(*wanted, strict=True)
        windows.add(readings.times, readings.values[:, list(columns)], places)
        self._queue_up(windows.cut())
        if self._parts.feed.patient:
            while len(self._queue) >= self._window.queue:
                self._room.clear()
                await self._room.wait()
            await asyncio.sleep(0)  # a recording does not keep everybody else waiting

    def _queue_up(self, made: Made) -> None:
        now, wall = self._parts.clock.monotonic(), self._parts.clock.now()
        for x in made.x:
            name = f"{self._parts.stream}:{self._received}"
            self._queue.append(Sample(id=name, x=x, at=wall, ready=now))
            self._received += 1
        if len(made.x):
            if not self._parts.feed.patient:
                self._drop(Drop.LATE, len(self._queue) - self._window.queue)
            self._news.set()

    def _drop(self, why: Drop, count: int) -> None:
        for _ in range(count):
            self._queue.popleft()
            self._dropped[why.value] += 1


def _shape(schema: Schema) -> tuple[object, ...]:
    return tuple(schema.input_shape), schema.signal
