"""One model for several callers: they take fair turns, and what waits while the model works goes through it together.

The thread whose turn it is runs the batch of all that wait, and passes the turn on before it hands out the answers: no
thread of the model's own, and none is woken in vain.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edge.inference.channel import SLOTS
from edge.inference.runtime import Array, Session
from edge.inference.turns import Caller, Turns
from shared.errors import FaultError

BATCH = 64
"""Most inputs of several callers in one run, of a kind of model that takes batches."""


class _Ask:
    """A caller's inputs on their way."""

    __slots__ = ("answer", "batch", "error", "lead", "news")

    def __init__(self, batch: NDArray[np.float32]) -> None:
        self.batch = batch
        self.answer: list[Array] = []
        self.error: BaseException | None = None
        self.lead: list[_Ask] = []
        """Whom its thread runs the model for, itself first, once the turn has come to it."""

        self.news = threading.Event()


class SharedSession:
    """Hands a session round."""

    def __init__(self, session: Session, *, most: int) -> None:
        """Take a session and the most inputs in one run that it answers for several callers."""
        self._session = session
        self._turns: Turns[_Ask] = Turns(most=most)
        self._lock = threading.Lock()
        self._free = SLOTS  # while any is, nobody waits

    def seen_by(self, caller: Caller) -> Session:
        """The session as `caller` uses it, from any thread; to be closed by nobody but its owner."""
        return _View(self, caller, self._session)

    def run(self, caller: Caller, batch: NDArray[np.float32]) -> list[Array]:
        """As the session's own, in the caller's turn.

        Raises:
            FaultError: as the session's own. A run that fails for several is tried again for each alone, so that
                nobody pays for another one's inputs.
        """
        ask = _Ask(batch)
        with self._lock:
            self._turns.ask(caller, ask, size=len(batch), likeness=(batch.shape[1:], batch.dtype))
            if self._free:
                self._free -= 1
                ask.lead = self._turns.take()
                ask.news.set()
        ask.news.wait()
        if ask.lead:
            self._run(ask.lead)
        if ask.error is not None:
            raise ask.error
        return ask.answer

    def _run(self, asks: Sequence[_Ask]) -> None:
        try:
            batch = asks[0].batch if len(asks) == 1 else np.concatenate([each.batch for each in asks])
            outputs = self._session.run(batch)
        except BaseException as error:
            if len(asks) == 1:
                asks[0].error = error
            else:
                for each in asks:
                    self._run_alone(each)
            self._pass_on()
        else:
            self._pass_on()
            _hand_out(outputs, asks)
        for each in asks[1:]:
            each.news.set()

    def _run_alone(self, ask: _Ask) -> None:
        try:
            ask.answer = self._session.run(ask.batch)
        except BaseException as error:
            ask.error = error

    def _pass_on(self) -> None:
        with self._lock:
            following = self._turns.take()
            self._free += not following
        if following:
            following[0].lead = following
            following[0].news.set()


class _View:
    """The session port for one caller."""

    def __init__(self, shared: SharedSession, caller: Caller, session: Session) -> None:
        self._shared = shared
        self._caller = caller
        self._session = session

    @property
    def providers(self) -> tuple[str, ...]:
        return self._session.providers

    def run(self, batch: NDArray[np.float32]) -> list[Array]:
        return self._shared.run(self._caller, batch)

    def close(self) -> None:
        """Nothing: the session is its host's."""


def _hand_out(outputs: list[Array], asks: Sequence[_Ask]) -> None:
    if len(asks) == 1:
        asks[0].answer = outputs
        return
    total = sum(len(each.batch) for each in asks)
    if any(output.ndim == 0 or len(output) != total for output in outputs):
        for each in asks:
            each.error = FaultError("the model does not answer each input with one row")
        return
    start = 0
    for each in asks:
        end = start + len(each.batch)
        each.answer = [output[start:end] for output in outputs]
        start = end
