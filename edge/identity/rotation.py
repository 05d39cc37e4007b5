"""Keeps the device's certificate good for as long as the agent runs; inference never waits for it."""

from __future__ import annotations

import asyncio
import logging
from random import Random

from edge.identity.identity import Identity
from edge.identity.renewal import Now, due, refresh
from shared.backoff import Backoff
from shared.bus import Bus
from shared.clock import Clock
from shared.errors import HinterlandError

log = logging.getLogger(__name__)

LOOK_S = 60.0
"""Longest time between two looks."""

LONELY_S = 900.0
"""Without a session for about as long, a device asks for a certificate that is not due: its own may have been replaced
by an answer that was lost, or have expired while its clock stands still. The next time it waits twice as long."""


class Rotation:
    """Renews when due, asks again with a growing pause when that fails, and has the session take the new one up."""

    def __init__(
        self, identity: Identity, *, bus: Bus, clock: Clock, now: Now, random: Random, lonely_s: float = LONELY_S
    ) -> None:
        self._identity = identity
        self._bus = bus
        self._clock = clock
        self._now = now
        self._failing = Backoff(first_s=30.0, most_s=3600.0, random=random)
        self._loneliness = Backoff(first_s=lonely_s, most_s=24 * lonely_s, random=random)
        self._patient_until: float | None = None
        self.renewed = 0

    async def run(self) -> None:
        """Turn until cancelled."""
        while True:
            wait_s = await self.turn_once()
            await asyncio.sleep(wait_s)

    async def turn_once(self) -> float:
        """Renew if it is time; return how many seconds the next look may wait."""
        try:
            wait_s = due(self._identity) - self._now()
            if wait_s > 0 and not self._lonely():
                return min(max(wait_s, 1.0), LOOK_S)
            await asyncio.to_thread(refresh, self._identity, now=self._now)
        except HinterlandError as error:
            log.warning("the certificate was not renewed: %s %s", error, error.hint)
            return self._failing.next()
        self._failing.reset()
        self._patient_until = None
        self.renewed += 1
        log.info("the certificate was renewed; the session opens anew with it")
        self._bus.reopen()
        return 1.0

    def _lonely(self) -> bool:
        if self._bus.connected:
            self._loneliness.reset()
            self._patient_until = None
            return False
        if self._patient_until is None:
            self._patient_until = self._clock.monotonic() + self._loneliness.next()
        return self._clock.monotonic() >= self._patient_until
