"""What a pipeline is doing, and how the releases it ran have done."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """What a pipeline is doing."""

    IDLE = "idle"
    """Not started."""

    WAITING = "waiting"
    """No release serves its model: the source is not consumed."""

    RUNNING = "running"
    ENDED = "ended"
    """The source has no more, or the agent stops."""

    FAILED = "failed"
    """The source cannot be read."""


@dataclass(slots=True)
class Health:
    """Counts of one release since it began to serve here."""

    processed: int = 0
    errors: int = 0
    fault: str = ""
    """Why the newest failing batch failed."""
