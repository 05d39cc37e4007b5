"""Spares a device that is hot or short of power: its cameras' pipelines work on fewer frames, and say so."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Protocol

from edge.facts import Facts
from edge.operate.throttle import Throttle
from shared.clock import Clock

log = logging.getLogger(__name__)

LOOK_S = 2.0
"""Seconds between two looks at the sensors."""


class Paced(Protocol):
    """What can work on less."""

    def pace(self, share: float, *, reason: str) -> None:
        """Work on at most this share of what comes; `reason` is empty once it is all again."""
        ...


class Sparing:
    """Looks and passes on."""

    def __init__(self, throttle: Throttle, facts: Facts, parts: Sequence[Paced], *, clock: Clock) -> None:
        self._throttle = throttle
        self._facts = facts
        self._parts = parts
        self._clock = clock

    def turn(self) -> None:
        """Look once."""
        heat_c, power = self._facts.hottest_c(), self._facts.power()
        change = self._throttle.look(heat_c=heat_c, power=power, at=self._clock.monotonic())
        if change is None:
            return
        said = f" for {change.reason}" if change.reason else ""
        log.warning("cameras' pipelines work on %g of their frames%s: %s °C, %s", change.share, said, heat_c, power)
        for part in self._parts:
            part.pace(change.share, reason=change.reason)

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            self.turn()
            await asyncio.sleep(LOOK_S)
