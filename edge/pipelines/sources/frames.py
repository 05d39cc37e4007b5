"""Any source of frames: a player decodes in a thread of its own, the pipeline takes what has passed the chain."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge.pipelines.sources.chain import Chain
from edge.pipelines.sources.film import Frame, Scaler, picture
from edge.pipelines.sources.port import Drop, Sample
from edge.pipelines.sources.watch import Watch
from shared.bundle import Schema
from shared.clock import Clock
from shared.errors import FaultError
from shared.messages import Stall

log = logging.getLogger(__name__)

MAX_STALLS = 64
"""Kept until they are told; a camera that comes and goes faster loses the oldest."""


class Intake(Protocol):
    """Where a player puts what it decodes; for its thread only."""

    def offer(self, frame: Frame, *, at: float, taken: float | None = None) -> bool:
        """Count a frame and hand it to the chain; False when the source has ended.

        Args:
            frame: a decoded one.
            at: seconds on the source's own clock, growing.
            taken: Unix seconds when the camera took it; None for now.
        """
        ...

    def lose(self, drop: Drop) -> bool:
        """Count a frame that came and goes no further; False when the source has ended."""
        ...

    def wait(self, seconds: float) -> bool:
        """Sleep; False, and at once, when the source has ended."""
        ...

    def tell(self, stall: Stall | None) -> None:
        """Report that nothing of use comes, or comes again; nothing for None."""
        ...

    @property
    def late(self) -> int:
        """Frames that nobody took in time, so far."""
        ...


class Player(Protocol):
    """Decodes one kind of source."""

    def play(self, intake: Intake, /) -> None:
        """Offer frames until there are no more or the source has ended; runs in a thread of its own.

        Raises:
            FaultError: the source cannot be read, and trying again does not help.
        """
        ...


class FrameSource:
    """Frames of one player; its thread starts with the first `take`."""

    def __init__(
        self,
        player: Player,
        *,
        stream: str,
        clock: Clock,
        chain: Chain | None = None,
        queue: int = 4,
        waits: bool = False,
        patience_s: float | None = None,
        watch: Watch | None = None,
    ) -> None:
        """Make one.

        Args:
            player: what decodes.
            stream: begins the samples' ids.
            clock: for their times.
            chain: masks and gates; none of them without.
            queue: frames that may wait for the pipeline.
            waits: whether the player waits when the queue is full; a camera does not, and the oldest frame goes.
            patience_s: most seconds that closing waits for the thread, which may sit in a read; None for no limit.
            watch: notices silence, also while the thread sits in a read.
        """
        self._player = player
        self._stream = stream
        self._clock = clock
        self._chain = chain or Chain()
        self._most = queue
        self._waits = waits
        self._patience_s = patience_s
        self._watch = watch
        self._timer: asyncio.Task[None] | None = None
        self._shape: tuple[int, ...] = ()
        self._scaler: Scaler | None = None
        self._thread: threading.Thread | None = None
        self._queue: deque[tuple[Sample, Frame]] = deque()
        self._room = threading.Condition()  # guards the queue and the fields below
        self._received = 0
        self._dropped: Counter[str] = Counter()
        self._stalls: deque[Stall] = deque(maxlen=MAX_STALLS)
        self._ended = False
        self._fault: FaultError | None = None
        self._news = asyncio.Event()
        self._wake: Callable[[], object] = lambda: None

    @property
    def received(self) -> int:
        return self._received

    @property
    def dropped(self) -> Mapping[str, int]:
        with self._room:
            return dict(self._dropped)

    def stalls(self) -> Sequence[Stall]:
        with self._room:
            told = list(self._stalls)
            self._stalls.clear()
        return told

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
            self._dropped[Drop.STOPPED.value] += len(self._queue)
            self._queue.clear()
            self._room.notify_all()
        self._news.set()
        if self._timer is not None:
            self._timer.cancel()
            await asyncio.wait([self._timer])
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, self._patience_s)

    # The player's side

    @property
    def late(self) -> int:
        return self._dropped[Drop.LATE.value]

    def offer(self, frame: Frame, *, at: float, taken: float | None = None) -> bool:
        with self._room:
            if self._ended:
                return False
            self._received += 1
        try:
            seen = self._chain.judge(frame, at)
        except Exception:
            self._drop(Drop.BROKEN)
            raise
        if isinstance(seen, Drop):
            return self._drop(seen)
        more = self._put(self._sample(seen, taken), seen)
        self._wake()
        return more

    def lose(self, drop: Drop) -> bool:
        with self._room:
            if self._ended:
                return False
            self._received += 1
        return self._drop(drop)

    def wait(self, seconds: float) -> bool:
        with self._room:
            return not self._room.wait_for(lambda: self._ended, timeout=max(0.0, seconds))

    def tell(self, stall: Stall | None) -> None:
        if stall is None:
            return
        if stall.until:
            log.warning("%s was %s for %.1f s", self._stream, stall.reason, stall.until - stall.since)
        else:
            log.warning("%s is %s: %s", self._stream, stall.reason, stall.text or "no other picture comes")
        with self._room:
            self._stalls.append(stall)

    def _start(self) -> None:
        self._scaler = Scaler()
        self._wake = partial(_wake, asyncio.get_running_loop(), self._news)
        self._thread = threading.Thread(target=self._run, name=f"decode-{self._stream}", daemon=True)
        if self._watch is not None:
            self._watch.began()
            self._timer = asyncio.create_task(self._check_forever(self._watch), name=f"watch-{self._stream}")
        self._thread.start()

    async def _check_forever(self, watch: Watch) -> None:
        while not self._ended:
            self.tell(watch.check())
            await asyncio.sleep(max(0.01, watch.due - self._clock.monotonic()))

    def _run(self) -> None:
        """The thread: until the player has no more, or the source ends."""
        try:
            self._player.play(self)
        except FaultError as error:
            self._fault = error
        except Exception as error:  # a mask or a gate that fails must not look like the end of a film
            log.exception("decoding %s failed", self._stream)
            self._fault = FaultError(f"decoding failed: {error!r}")
        finally:
            with self._room:
                self._ended = True
            self._wake()

    def _drop(self, drop: Drop) -> bool:
        with self._room:
            self._dropped[drop.value] += 1
            return not self._ended

    def _put(self, sample: Sample, frame: Frame) -> bool:
        """Queue a frame; False when the source has ended meanwhile."""
        with self._room:
            if self._waits:
                self._room.wait_for(lambda: self._ended or len(self._queue) < self._most)
            if self._ended:
                self._dropped[Drop.STOPPED.value] += 1
                return False
            if len(self._queue) >= self._most:
                self._queue.popleft()
                self._dropped[Drop.LATE.value] += 1
            self._queue.append((sample, frame))
            return True

    def _sample(self, frame: Frame, taken: float | None) -> Sample:
        x = self._fitted(frame)
        at = self._clock.now() if taken is None else taken
        name = f"{self._stream}:{self._received - 1}"
        return Sample(id=name, x=x, at=at, ready=self._clock.monotonic(), picture=partial(picture, frame))

    def _refitted(self, sample: Sample, frame: Frame) -> Sample:
        """The sample, scaled again if the model that serves now takes another shape than when it was decoded."""
        if sample.x.shape == self._shape:
            return sample
        return replace(sample, x=self._fitted(frame))

    def _fitted(self, frame: Frame) -> NDArray[np.float32]:
        if self._scaler is None:
            raise FaultError("a source is asked for frames before it was started")
        return self._scaler.scale(frame, self._shape)


def _wake(loop: asyncio.AbstractEventLoop, news: asyncio.Event) -> None:
    with suppress(RuntimeError):  # the loop is closed: nobody waits any more
        loop.call_soon_threadsafe(news.set)
