"""Windows of a model's shape from samples as sensors give them: unsteady, doubled, late, absurd, and with gaps.

Samples of all channels come onto one grid of the model's rate, which begins anew after each gap; a window is `length`
points of the grid in a row, so that none spans a gap. Nothing here knows a clock, a protocol or a thread.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge.pipelines.sources.sensors.resample import EPSILON, Floats, Resample, bridged, resample

MOST_WAITING = 1 << 17
"""Samples that a channel may hold while the others are behind."""


class Lost(StrEnum):
    """Why a sample, or a point of the grid, is in no window."""

    NOT_FINITE = "not-finite"
    ABSURD = "absurd"
    """Outside of what the sensor can measure."""

    DUPLICATE = "duplicate"
    OUT_OF_ORDER = "out-of-order"
    UNPAIRED = "unpaired"
    """Other channels said nothing at that time."""

    CUT = "cut"
    """Points that a gap left over, too few for a window."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """How one channel's values become the model's."""

    scale: float = 1.0
    offset: float = 0.0
    low: float = -np.inf
    """Least value that can be meant, in the sensor's own unit."""

    high: float = np.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowSettings:
    """What windows are made of."""

    channels: tuple[Channel, ...]
    """In the model's order."""

    length: int
    """Points in a window."""

    stride: int
    """Points from the beginning of one window to that of the next."""

    rate: float
    """Points a second."""

    gap_s: float
    """Seconds without a sample that are bridged; a longer time ends the window."""

    resample: Resample = Resample.LINEAR
    late_s: float = 1.0
    """Seconds that a channel may be behind the others, beyond `gap_s`, before they go on without it."""

    back_s: float = 60.0
    """A time further back than this is a clock that was set; one that is nearer, a sample out of order."""


class Made(NamedTuple):
    """Windows, in order."""

    x: NDArray[np.float32]
    """[n, channels, length]."""

    at: Floats
    """Time of each one's last point, [n]."""


class _Samples:
    """What one channel holds."""

    __slots__ = ("newest", "times", "values")

    def __init__(self) -> None:
        self.times: Floats = np.empty(0)
        self.values: Floats = np.empty(0)
        self.newest = -np.inf

    def add(self, times: Floats, values: Floats) -> None:
        self.times = np.concatenate((self.times, times))
        self.values = np.concatenate((self.values, values))
        self.newest = float(times[-1])

    def forget(self, count: int) -> None:
        """The oldest go."""
        self.times, self.values = self.times[count:], self.values[count:]


class Windows:
    """Takes samples with `add` and gives windows with `cut`.

    Of the `given` samples all were `taken` but those in `lost` by reason (`UNPAIRED` ones were taken first). Of the
    `points` of the grid that were made, `covered` are in windows, `lost[CUT]` in none, and the rest wait.
    """

    def __init__(self, settings: WindowSettings) -> None:
        self.settings = settings
        self.given = 0
        self.taken = 0
        self.points = 0
        self.covered = 0
        self.bridged = 0
        """Points of the grid that no sample is within a step of, in gaps that were short enough."""

        self.gaps = 0
        """Times that a grid ended for want of samples, or as a clock was set."""

        self.lost: Counter[Lost] = Counter()
        self._samples = [_Samples() for _ in settings.channels]
        self._step = 1 / settings.rate
        # regular samples exactly that far apart are no gap, and one that no point falls into is none either
        self._gap = max(settings.gap_s, self._step) * (1 + 1e-9) + EPSILON
        self._running = False  # whether there is a grid
        self._origin = 0.0  # time of its point 0
        self._next = 0  # point to be made next
        self._held: NDArray[np.float32] = np.empty((len(settings.channels), 0), np.float32)
        self._fresh = 0  # of the held points, the last so many are in no window yet
        self._skip = 0  # points before the next window begins, where windows are further apart than they are long
        self._made: list[Made] = []

    def add(self, times: Floats, values: Floats, channels: Sequence[int] | None = None) -> None:
        """Take samples, in the order of their arrival.

        Args:
            times: seconds, [n]; any epoch, the same for all channels.
            values: in the sensors' own units, [n, channels].
            channels: which these are; all of them when left out.
        """
        chosen = range(len(self._samples)) if channels is None else channels
        self.given += values.size
        if not len(times):
            return
        known = np.isfinite(times)
        if not known.all():
            self.lost[Lost.NOT_FINITE] += int((~known).sum()) * len(chosen)
            times, values = times[known], values[known]
        while len(times):
            steady = self._steady(times, chosen)
            for column, channel in enumerate(chosen):
                self._accept(channel, times[:steady], values[:steady, column])
            self._advance()
            times, values = times[steady:], values[steady:]
            if len(times):
                self._restart()

    def cut(self) -> Made:
        """The windows that have become whole since the last time."""
        made, self._made = self._made, []
        if len(made) == 1:
            return made[0]
        if made:
            return Made(np.concatenate([each.x for each in made]), np.concatenate([each.at for each in made]))
        shape = (0, len(self._samples), self.settings.length)
        return Made(np.empty(shape, np.float32), np.empty(0))

    @property
    def waiting(self) -> int:
        """Points that may still come into a window."""
        return self._fresh

    def _steady(self, times: Floats, channels: Sequence[int]) -> int:
        """How many samples come before one by which a clock was set back."""
        newest = max(self._samples[channel].newest for channel in channels)
        seen = np.maximum.accumulate(np.concatenate(([newest], times)))[:-1]
        back = times < seen - self.settings.back_s
        return int(back.argmax()) if back.any() else len(times)

    def _accept(self, channel: int, times: Floats, values: Floats) -> None:
        """Keep what can be meant, in the model's unit."""
        terms, samples = self.settings.channels[channel], self._samples[channel]
        good = np.isfinite(values)
        if not good.all():
            self.lost[Lost.NOT_FINITE] += int((~good).sum())
            times, values = times[good], values[good]
        good = (values >= terms.low) & (values <= terms.high)
        if not good.all():
            self.lost[Lost.ABSURD] += int((~good).sum())
            times, values = times[good], values[good]
        if not len(times):
            return
        seen = np.maximum.accumulate(np.concatenate(([samples.newest], times)))[:-1]
        good = times > seen
        if not good.all():
            double = int((times == seen).sum())
            self.lost[Lost.DUPLICATE] += double
            self.lost[Lost.OUT_OF_ORDER] += int((~good).sum()) - double
            times, values = times[good], values[good]
        if len(times):
            self.taken += len(times)
            samples.add(times, values * terms.scale + terms.offset)

    def _advance(self) -> None:
        """Make all points that can be made, and windows of them."""
        while self._begun() and self._extend():
            pass
        self._leave_behind()

    def _begun(self) -> bool:
        """Whether there is a grid; it begins with the first moment at which all channels say something."""
        if not self._running and all(len(each.times) for each in self._samples):
            self._running, self._next = True, 0
            self._origin = max(float(each.times[0]) for each in self._samples)
        return self._running

    def _extend(self) -> bool:
        """Make points up to the next gap, or as far as all channels have come; whether a gap was met."""
        rate = self.settings.rate
        margin = (
            self._step / 2 if self.settings.resample is Resample.MEAN else 0.0
        )  # samples after a point belong to it
        end = min(self._reach(each.times) + margin for each in self._samples)
        end = min(end, *(float(each.times[-1]) for each in self._samples))
        count = int(np.floor((end - margin - self._origin) * rate + EPSILON * rate)) + 1 - self._next
        if count <= 0:
            return False
        edges: Floats = self._origin + (np.arange(self._next, self._next + count + 1, dtype=np.float64) - 0.5) / rate
        points = np.minimum((edges[:-1] + edges[1:]) / 2, end)
        apart = np.stack([bridged(each.times, points) for each in self._samples])
        wide = apart > self._gap
        broken = wide.any(axis=0)
        good = int(broken.argmax()) if broken.any() else count
        if good:
            self._append(edges[: good + 1], apart[:, :good])
        if good < count:
            self._break([index for index, each in enumerate(wide[:, good]) if each], points[good])
            return True
        for each in self._samples:
            each.forget(max(0, int(np.searchsorted(each.times, points[-1] + margin + EPSILON, "right")) - 1))
        return False

    def _reach(self, times: Floats) -> float:
        """Up to where points are looked at: no further than the first one in a gap, which may be years wide."""
        wide = np.diff(times) > self._gap
        return float(times[wide.argmax()]) + self._step if wide.any() else float(times[-1])

    def _append(self, edges: Floats, apart: Floats) -> None:
        way = self.settings.resample
        block = np.stack([resample(each.times, each.values, edges, way) for each in self._samples])
        self.bridged += int((apart > 2 * self._step + EPSILON).any(axis=0).sum())
        self.points += block.shape[1]
        self._next += block.shape[1]
        skipped = min(self._skip, block.shape[1])
        self._skip -= skipped
        self.lost[Lost.CUT] += skipped
        self._held = np.concatenate((self._held, block[:, skipped:].astype(np.float32)), axis=1)
        self._fresh += block.shape[1] - skipped
        self._window()

    def _window(self) -> None:
        """Cut whole windows off what is held."""
        length, stride = self.settings.length, self.settings.stride
        held = self._held.shape[1]
        count = (held - length) // stride + 1
        if count <= 0:
            return
        views = np.lib.stride_tricks.sliding_window_view(self._held, length, axis=1)[:, ::stride][:, :count]
        last = self._next - held + np.arange(count) * stride + length - 1
        self._made.append(Made(views.transpose(1, 0, 2).copy(), self._origin + last / self.settings.rate))
        reach = (count - 1) * stride + length  # points up to the end of the last window
        between = (count - 1) * max(0, stride - length)
        fresh = held - reach
        self.covered += self._fresh - fresh - between
        self.lost[Lost.CUT] += between
        skipped = min(fresh, max(0, stride - length))
        self._skip = max(0, stride - length) - skipped
        self.lost[Lost.CUT] += skipped
        self._fresh = fresh - skipped
        self._held = self._held[:, count * stride :].copy()

    def _break(self, channels: Sequence[int], at: float) -> None:
        """End the grid for a gap around `at`; the next one begins behind it."""
        self._end_grid()
        for channel in channels:
            samples = self._samples[channel]
            samples.forget(int(np.searchsorted(samples.times, at, "left")))

    def _end_grid(self) -> None:
        self.gaps += 1
        self.lost[Lost.CUT] += self._fresh
        self._held, self._fresh, self._skip = self._held[:, :0], 0, 0
        self._running = False

    def _restart(self) -> None:
        """A clock was set: what is held belongs to another time."""
        self._end_grid()
        for index, samples in enumerate(self._samples):
            self.lost[Lost.UNPAIRED] += max(0, len(samples.times) - 1)  # the last has had its part
            self._samples[index] = _Samples()

    def _leave_behind(self) -> None:
        """Go on without channels that are too far behind, and keep no more than what they could still meet."""
        ahead = max(each.newest for each in self._samples)
        patience = self._gap + self.settings.late_s
        lagging = [each for each in self._samples if ahead - each.newest > patience]
        if lagging and self._running:
            self._end_grid()
        for each in lagging:
            each.forget(len(each.times))
        if lagging or any(len(each.times) > MOST_WAITING for each in self._samples):
            for each in self._samples:
                old = int(np.searchsorted(each.times, ahead - patience, "left"))
                spared = max(old, len(each.times) - MOST_WAITING)
                self.lost[Lost.UNPAIRED] += spared
                each.forget(spared)
