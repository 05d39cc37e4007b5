"""A model in a process of its own, behind the session port: it can fail, hang or lie, and take nothing with it."""

from __future__ import annotations

import logging
import math
import os
import threading
from random import Random

import numpy as np
from numpy.typing import NDArray

from edge.inference.channel import make_file
from edge.inference.confine import lacking
from edge.inference.process import Isolation, Process
from edge.inference.runtime import Array, Load
from shared.backoff import Backoff
from shared.clock import Clock
from shared.errors import FaultError

log = logging.getLogger(__name__)

FIRST_S, MOST_S = 0.2, 60.0
"""Back-off between two starts of a process whose model ended it."""

STEADY_S = 60.0
"""After this long without an end, the next one is the first again."""

ALARM = 3
"""Ends in a row after which an operator has to know, and the release is rolled back (`edge.update.plan`)."""


class IsolatedSession:
    """One model, whose process is started again when it ended. Any thread may run it, several at once."""

    def __init__(self, data: bytes, isolation: Isolation, *, clock: Clock, random: Random) -> None:
        """Start a process and load the model there.

        Raises:
            TrustError: the model must not be parsed.
            FaultError: it does not load, in time or within its memory.
        """
        self._isolation = isolation
        self._clock = clock
        self._backoff = Backoff(first_s=FIRST_S, most_s=MOST_S, random=random)
        self._lock = threading.Lock()
        self._ended: Process | None = None
        """The process whose end is on record already."""

        self._ready_at = 0.0
        self._started = clock.monotonic()
        self.ends = 0
        """Times in a row that the model's process ended by itself or had to be killed."""

        self.last_end = ""
        """Why, last."""

        self._model = make_file(data)  # every start loads the very bytes that were proven
        try:
            self._process = Process(self._model, isolation)
        except BaseException:
            self._close_model()
            raise
        self.providers: tuple[str, ...] = self._process.providers
        self.confinement = self._process.confinement
        """What of `edge.inference.confine.WANTED` holds for the process."""

    @classmethod
    def loader(cls, isolation: Isolation, *, clock: Clock, random: Random) -> Load:
        """The port's `Load`; says once what the kernel does not give."""
        said: set[tuple[str, ...]] = set()

        def load(data: bytes) -> IsolatedSession:
            session = cls(data, isolation, clock=clock, random=random)
            if session.confinement not in said:
                said.add(session.confinement)
                _tell(session.confinement)
            return session

        return load

    @property
    def pid(self) -> int:
        """Id of the process that has the model now."""
        return self._process.pid

    def run(self, batch: NDArray[np.float32]) -> list[Array]:
        with self._lock:
            if self._model < 0:
                raise FaultError("the session is closed")
            process = self._living()
        try:
            return process.run(batch)
        except BaseException as error:
            with self._lock:
                if not process.alive and process is not self._ended:
                    self._ended = process  # several batches may have been with it
                    self._note_end(error)
            raise

    def close(self) -> None:
        self._process.close()
        self._close_model()

    def _living(self) -> Process:
        """The process, started again if it ended and its pause is over."""
        if self._process.alive:
            return self._process
        left = self._ready_at - self._clock.monotonic()
        if left > 0:
            raise FaultError(f"the model's process ended and starts again in {left:.1f} s")
        self._started = math.inf  # a start that fails has lived for no time
        try:
            self._process = Process(self._model, self._isolation)
        except BaseException as error:
            self._note_end(error)
            raise
        self._started = self._clock.monotonic()
        return self._process

    def _note_end(self, error: BaseException) -> None:
        now = self._clock.monotonic()
        if now - self._started > STEADY_S:
            self.ends = 0
            self._backoff.reset()
        self.ends += 1
        self.last_end = str(error)
        pause = self._backoff.next()
        self._ready_at = now + pause
        level = logging.ERROR if self.ends >= ALARM else logging.WARNING
        log.log(level, "a model ended its process %d times in a row; it starts again in %.1f s", self.ends, pause)

    def _close_model(self) -> None:
        descriptor, self._model = self._model, -1
        if descriptor >= 0:
            os.close(descriptor)


def _tell(held: tuple[str, ...]) -> None:
    log.info("models run in processes of their own: %s", ", ".join(held))
    if missing := lacking(held):
        log.warning("this system does not give models' processes: %s", ", ".join(missing))
