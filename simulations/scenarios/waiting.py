"""Wait for what the coordinator reports, while the world is watched and the operator goes on labelling."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from shared.errors import FaultError, TransportError
from simulations.world.world import World

POLL_S = 0.4


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """How a scenario waits."""

    world: World
    between: Callable[[], object]
    """Done at each look: the operator's turn."""

    def until(self, what: str, done: Callable[[], bool], *, within_s: float) -> float:
        """Look until `done()`; return the Unix time at which it was.

        Raises:
            FaultError: a process ended, or the time is up.
        """
        deadline = time.monotonic() + within_s
        while True:
            self.world.check()
            try:
                self.between()
                if done():
                    return time.time()
            except TransportError:
                pass  # the coordinator was busy; the next look asks again
            if time.monotonic() > deadline:
                raise FaultError(f"{what} did not happen within {within_s:.0f} s", hint=f"See {self.world.logs}.")
            time.sleep(POLL_S)
