"""What an update needs of this device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from edge.update.course import Course, Report
from edge.update.journal import Entry, Journal
from edge.update.neighbours import Neighbours
from edge.update.pace import Patience
from edge.update.preflight import Preflight
from edge.update.serving import Serving
from edge.update.trust import Trust
from shared.bus import Bus
from shared.clock import Clock
from shared.ids import DeviceId


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What an update needs; made by the agent's wiring."""

    device: DeviceId
    models: Path
    """Directory of all slots."""

    bus: Bus
    trust: Trust
    journal: Journal
    serving: Serving
    report: Report
    """Keeps a status until the coordinator has it."""

    clock: Clock
    random: Random
    patience: Patience = field(default_factory=Patience)
    preflight: Preflight | None = None
    """Asked before the first byte of a variant; None where every time is right."""

    neighbours: Neighbours | None = None
    """Asked before the coordinator is; None for a device that is alone."""

    masks: Callable[[Any], object] | None = None
    """Told in a worker thread what the fleet hides from view, before anything else of the same signed state counts."""

    def course(self, model: str, entry: Entry) -> Course:
        """The way of one release from `entry` on."""
        return Course(model, entry, journal=self.journal, report=self.report, clock=self.clock)
