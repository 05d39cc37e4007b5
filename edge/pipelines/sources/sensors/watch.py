"""The watchdog over a sensor's channels: silent, frozen, or not to be reached."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from edge.pipelines.sources.sensors.resample import Floats
from edge.pipelines.sources.stalls import Reason, ended, noticed
from shared.messages import Stall


@dataclass(slots=True)
class _Channel:
    name: str
    good: float
    """Monotonic seconds of the newest sample."""

    changed: float
    """Since when its value has been what it is."""

    value: float = np.nan
    stall: Stall | None = None


class Watch:
    """At most one stall a channel, and one for the sensor as a whole; a stall keeps the reason it was noticed for."""

    def __init__(self, names: Sequence[str], *, silent_s: float, frozen_s: float | None) -> None:
        self._silent_s = silent_s
        self._frozen_s = frozen_s
        self._channels = [_Channel(name, 0.0, 0.0) for name in names]
        self._whole: Stall | None = None
        self._told: list[Stall] = []

    def began(self, *, at: float) -> None:
        """The sensor is asked for samples from monotonic `at` on."""
        for each in self._channels:
            each.good = each.changed = at

    def seen(self, channels: Sequence[int], values: Floats, *, at: float, now: float) -> None:
        """Samples [n, channels] have come.

        Args:
            channels: of which channels.
            values: as they were given.
            at: monotonic seconds.
            now: Unix seconds.
        """
        if self._whole is not None:
            self._told.append(ended(self._whole, now=now))
            self._whole = None
        for column, index in enumerate(channels):
            given = values[:, column]
            given = given[np.isfinite(given)]
            if len(given):
                self._heard(self._channels[index], given, at=at, now=now)

    def lost(self, text: str, *, at: float, now: float) -> None:
        """The sensor cannot be reached; told once until it gives something again."""
        if self._whole is None:
            quiet_s = at - max(each.good for each in self._channels)
            self._whole = noticed(Reason.UNREACHABLE, text, for_s=quiet_s, now=now)
            self._told.append(self._whole)

    def check(self, *, at: float, now: float) -> None:
        """Look whether a channel has been quiet, or the same, for too long."""
        for each in self._channels:
            for reason, since, text in self._faults(each, at):
                if each.stall is None:
                    each.stall = noticed(reason, text, for_s=at - since, now=now)
                    self._told.append(each.stall)

    def told(self) -> list[Stall]:
        """What was noticed, or is over, since the last call."""
        told, self._told = self._told, []
        return told

    def _heard(self, channel: _Channel, values: Floats, *, at: float, now: float) -> None:
        channel.good = at
        changed = bool((values != channel.value).any())
        if changed:
            channel.changed = at
            channel.value = float(values[-1])
        stall = channel.stall
        if stall is not None and (changed or stall.reason != Reason.FROZEN):
            self._told.append(ended(stall, now=now))
            channel.stall = None

    def _faults(self, channel: _Channel, at: float) -> Iterator[tuple[Reason, float, str]]:
        if self._whole is None and at - channel.good >= self._silent_s:
            yield Reason.SILENT, channel.good, f"{channel.name}: no sample for {self._silent_s:g} s"
        elif self._frozen_s is not None and channel.good - channel.changed >= self._frozen_s:
            yield Reason.FROZEN, channel.changed, f"{channel.name}: always {channel.value:g}"
