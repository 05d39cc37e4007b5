"""A video file as a camera: decoded and scaled in a thread of its own, at the film's pace."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from edge.pipelines.sources.film import Frame, Scaler, picture, play
from edge.pipelines.sources.port import Sample
from shared.bundle import Schema
from shared.clock import Clock
from shared.errors import FaultError


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoSettings:
    """How a file is played."""

    path: Path
    fps: float | None = None
    """Frames a second handed on while the film runs at its own pace; frames nobody takes in time are dropped,
    as a camera does. None: every frame, as fast as they are taken."""

    loop: bool = False
    queue: int = 4
    """Frames decoded ahead."""


class VideoSource:
    """Frames of one file; the decoding thread starts with the first `take`."""

    def __init__(self, settings: VideoSettings, *, stream: str, clock: Clock) -> None:
        self._settings = settings
        self._stream = stream
        self._clock = clock
        self._shape: tuple[int, ...] = ()
        self._scaler: Scaler | None = None
        self._thread: threading.Thread | None = None
        self._queue: deque[tuple[Sample, Frame]] = deque()
        self._room = threading.Condition()  # guards the queue and the three fields below
        self._dropped = 0
        self._ended = False
        self._fault: FaultError | None = None
        self._news = asyncio.Event()

    @property
    def dropped(self) -> int:
        return self._dropped

    def fit(self, schema: Schema) -> None:
        shape = tuple(schema.input_shape)
        if len(shape) != 3 or shape[0] != 3:
            raise FaultError(f"a camera gives [3, height, width], the model takes {list(shape)}")
        self._shape = shape

    async def take(self, limit: int) -> list[Sample]:
        if self._thread is None and not self._ended:
            self._start()
        while True:
            self._news.clear()
            with self._room:
                taken = [self._queue.popleft() for _ in range(min(limit, len(self._queue)))]
                self._room.notify_all()
                fault, ended = self._fault, self._ended
            if taken:
                return [self._refitted(sample, frame) for sample, frame in taken]
            if fault:
                raise fault
            if ended:
                return []
            await self._news.wait()

    async def close(self) -> None:
        with self._room:
            self._ended = True
            self._queue.clear()
            self._room.notify_all()
        self._news.set()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)

    def _start(self) -> None:
        self._scaler = Scaler()
        wake = partial(asyncio.get_running_loop().call_soon_threadsafe, self._news.set)
        decode = partial(self._decode, scaler=self._scaler, wake=wake)
        self._thread = threading.Thread(target=decode, name=f"decode-{self._stream}", daemon=True)
        self._thread.start()

    def _decode(self, *, scaler: Scaler, wake: Callable[[], object]) -> None:
        """The thread: frames into the queue until the film or the source ends."""
        began = self._clock.monotonic()
        settings = self._settings
        try:
            for index, (at, frame) in enumerate(play(settings.path, fps=settings.fps, loop=settings.loop)):
                if settings.fps is not None and self._wait_until(began + at):
                    return
                if self._put(self._sample(f"{self._stream}:{index}", frame, scaler), frame):
                    return
                wake()
        except FaultError as error:
            self._fault = error
        finally:
            with self._room:
                self._ended = True
            wake()

    def _wait_until(self, due: float) -> bool:
        """Wait for a frame's moment; True when the source has ended meanwhile."""
        with self._room:
            return self._room.wait_for(lambda: self._ended, timeout=max(0.0, due - self._clock.monotonic()))

    def _put(self, sample: Sample, frame: Frame) -> bool:
        """Queue a frame, for which a film without pace waits; True when the source has ended meanwhile."""
        with self._room:
            if self._settings.fps is None:
                self._room.wait_for(lambda: self._ended or len(self._queue) < self._settings.queue)
            elif len(self._queue) >= self._settings.queue:
                self._queue.popleft()
                self._dropped += 1
            if not self._ended:
                self._queue.append((sample, frame))
            return self._ended

    def _sample(self, name: str, frame: Frame, scaler: Scaler) -> Sample:
        x = scaler.scale(frame, self._shape)
        return Sample(
            id=name, x=x, at=self._clock.now(), ready=self._clock.monotonic(), picture=partial(picture, frame)
        )

    def _refitted(self, sample: Sample, frame: Frame) -> Sample:
        """The sample, scaled again if the model that serves now takes another shape than when it was decoded."""
        if sample.x.shape == self._shape or self._scaler is None:
            return sample
        x = self._scaler.scale(frame, self._shape)
        return Sample(id=sample.id, x=x, at=sample.at, ready=sample.ready, picture=sample.picture)
