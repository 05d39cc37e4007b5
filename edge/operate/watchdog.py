"""The sign of life: given only while the event loop turns and no pipeline is stuck with an input in its hands."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Protocol

from edge.operate.systemd import Notifier
from shared.clock import Clock

log = logging.getLogger(__name__)

TIMES = 3
"""Signs of life in the time after which the manager ends us: one may come late."""


class Busy(Protocol):
    """What can be stuck."""

    @property
    def name(self) -> str:
        """For the log."""
        ...

    @property
    def busy_since(self) -> float | None:
        """Monotonic seconds since when it has an input in its hands and a model to answer it; None while it waits."""
        ...


def stuck(parts: Sequence[Busy], *, at: float, limit_s: float) -> list[str]:
    """Who has held an input for longer than any answer may take; waiting for inputs or for a model is no fault."""
    return [each.name for each in parts if each.busy_since is not None and at - each.busy_since > limit_s]


class Watchdog:
    """Gives signs of life from the agent's own loop."""

    def __init__(self, notifier: Notifier, parts: Sequence[Busy], *, clock: Clock, limit_s: float) -> None:
        """`limit_s` is the longest that an input may rightly be in work: no part of the agent waits longer."""
        self._notifier = notifier
        self._parts = parts
        self._clock = clock
        self._limit_s = limit_s
        self._said: list[str] = []

    def turn(self) -> bool:
        """Give a sign of life, if that is true; whether it was given."""
        names = stuck(self._parts, at=self._clock.monotonic(), limit_s=self._limit_s)
        if names != self._said:
            self._said = names
            if names:
                log.error("stuck: %s; systemd gets no sign of life until that ends", ", ".join(names))
        if not names:
            self._notifier.alive()
        return not names

    async def run(self) -> None:
        """Until cancelled; at once over where nobody watches."""
        if not self._notifier.watchdog_s:
            return
        while True:
            self.turn()
            await asyncio.sleep(self._notifier.watchdog_s / TIMES)
