"""How much a device may work while it is hot or its battery runs low: in steps, each of which somebody hears of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from edge.facts import Power

STEPS = (1.0, 0.5, 0.25, 0.125)
"""Shares of the frames that are worked on, from cool to hot."""

COOLER_C = 5.0
"""So far under the threshold a device has cooled down; in between nothing changes."""

FULLER = 3.0
"""Percent of charge over a threshold from which on it counts as passed."""

WARM_S, COOL_S = 10.0, 60.0
"""Seconds that a step is given to show, before the next one up and the next one down."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """From where on a device spares itself."""

    hot_c: float | None = 90.0
    """Degrees Celsius of its hottest sensor; None for never."""

    charge: float = 20.0
    """Percent of its battery's charge, while it runs on that; half of it is the next step, a quarter the last. 0 for
    never."""


class Change(NamedTuple):
    """A step."""

    share: float
    """Of the frames, from now on."""

    reason: str
    """`heat` or `battery`; empty once neither holds the device back."""


class Throttle:
    """Decides; a function of what it is shown."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._heat = 0
        self._heat_since = float("-inf")
        self._battery = 0
        self._said = Change(1.0, "")

    def look(self, *, heat_c: float | None, power: Power, at: float) -> Change | None:
        """What changes, `at` monotonic seconds; a sensor that says nothing counts as cool."""
        self._feel(heat_c, at)
        self._battery = self._drained(power)
        level = max(self._heat, self._battery)
        reason = "" if not level else "heat" if self._heat == level else "battery"
        change = Change(STEPS[level], reason)
        if change.share == self._said.share:
            return None
        self._said = change
        return change

    def _feel(self, heat_c: float | None, at: float) -> None:
        hot = self._limits.hot_c
        if hot is not None and heat_c is not None and heat_c >= hot:
            step, wait = 1, WARM_S
        elif hot is None or heat_c is None or heat_c <= hot - COOLER_C:
            step, wait = -1, COOL_S
        else:
            return
        level = min(len(STEPS) - 1, max(0, self._heat + step))
        if level != self._heat and at - self._heat_since >= wait:
            self._heat, self._heat_since = level, at

    def _drained(self, power: Power) -> int:
        if not power.on_battery or power.charge is None:
            return 0
        thresholds = [self._limits.charge / part for part in (1, 2, 4)]
        now = sum(power.charge < each for each in thresholds)
        back = sum(power.charge < min(100.0, each + FULLER) for each in thresholds if each)
        return now if now > self._battery else min(self._battery, back)
