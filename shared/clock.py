"""Time as an argument: the system's clock, and one that tests and simulations turn by hand."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Where every other module gets its time from."""

    def now(self) -> float:
        """Seconds since the Unix epoch, UTC; may jump when the machine's clock is set."""
        ...

    def monotonic(self) -> float:
        """Seconds that only grow; for deadlines and durations."""
        ...


class SystemClock:
    """The machine's own clocks; made in wiring modules only."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()


@dataclass(slots=True)
class VirtualClock:
    """A clock that stands still until `advance` is called."""

    at: float = 1_767_225_600.0
    """2026-01-01T00:00:00Z, so that test certificates and metadata have readable dates."""

    ticks: float = field(default=0.0)

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.ticks

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass on both clocks."""
        self.at += seconds
        self.ticks += seconds


def utc(at: float) -> datetime:
    """`at` (Unix seconds) as an aware datetime in UTC."""
    return datetime.fromtimestamp(at, tz=UTC)
