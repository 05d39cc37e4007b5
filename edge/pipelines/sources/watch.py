"""The watchdog of a live source: when nothing of use comes, and why; pure but for the lock."""

from __future__ import annotations

import threading

from edge.pipelines.sources.stalls import Reason, ended, noticed
from shared.clock import Clock
from shared.messages import Stall


class Watch:
    """One stall at a time, from the last frame of use to the next; called by the reader and by a timer.

    A stall keeps the reason with which it was noticed: a camera that fell silent and then refuses the reconnect was
    silent. Methods return the stall that is to be told, if it has just been noticed or is just over.
    """

    def __init__(self, *, silent_s: float, clock: Clock) -> None:
        """Notice after `silent_s` seconds without a frame."""
        self._silent_s = silent_s
        self._clock = clock
        self._lock = threading.Lock()
        self._good = clock.monotonic()
        self._packet = self._good
        self._stall: Stall | None = None

    @property
    def due(self) -> float:
        """Monotonic seconds at which `check` is to be called next."""
        with self._lock:
            return (self._clock.monotonic() if self._stall is not None else self._good) + self._silent_s

    @property
    def stalled(self) -> Stall | None:
        """The stall that lasts."""
        return self._stall

    def began(self) -> None:
        """The source is asked for frames from now on."""
        with self._lock:
            self._good = self._packet = self._clock.monotonic()

    def packet(self) -> None:
        """Something came, whatever it is."""
        self._packet = self._clock.monotonic()

    def frame(self) -> Stall | None:
        """A frame was decoded; it ends every stall but a frozen picture."""
        with self._lock:
            self._good = self._clock.monotonic()
            frozen = self._stall is not None and self._stall.reason == Reason.FROZEN
            return None if frozen else self._over()

    def fresh(self) -> Stall | None:
        """A frame shows something else than the one before."""
        with self._lock:
            return self._over()

    def frozen(self, *, since: float) -> Stall | None:
        """Frames have shown the same since monotonic `since`."""
        with self._lock:
            return self._begin(Reason.FROZEN, "", since)

    def trouble(self, reason: Reason, text: str) -> Stall | None:
        """The reader met an error."""
        with self._lock:
            return self._begin(reason, text, self._good)

    def check(self) -> Stall | None:
        """Look whether it has been quiet for too long."""
        with self._lock:
            if self._clock.monotonic() - self._good < self._silent_s:
                return None
            if self._packet > self._good:
                return self._begin(Reason.BROKEN, "packets come, and no frame", self._good)
            return self._begin(Reason.SILENT, f"nothing came for {self._silent_s:g} s", self._good)

    def _begin(self, reason: Reason, text: str, since: float) -> Stall | None:
        if self._stall is not None:
            return None
        self._stall = noticed(reason, text, for_s=self._clock.monotonic() - since, now=self._clock.now())
        return self._stall

    def _over(self) -> Stall | None:
        stall, self._stall = self._stall, None
        return None if stall is None else ended(stall, now=self._clock.now())
