"""What is looked at: one device's settings, its disk, its machine, and its agent if one runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edge import settings as conf
from edge.facts import Facts
from edge.identity import Identity
from edge.operate.status import Status
from shared.clock import Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """Read once, at the beginning."""

    config: Path
    settings: conf.Settings
    facts: Facts
    clock: Clock
    identity: Identity | None
    """None before enrolment, or where it is damaged."""

    status: Status | None
    """Of the agent that runs; None where none answers."""

    @property
    def state(self) -> Path:
        """The agent's directory."""
        return self.settings.state
