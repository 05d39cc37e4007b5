"""When a frame was taken, from its number on the camera's clock and its arrival; and when to spare decoding."""

from __future__ import annotations

import math


class FrameClock:
    """Maps a stream's times to ours by the frames that came fastest.

    A frame is taken, then waits in encoders, queues and the network: never less than the shortest delay seen. So the
    least difference between arrival and the stream's own time is taken for all frames, and jitter goes. It is the
    least of the last one to two `window_s`, which lets two clocks drift apart. The delay that all frames share remains.
    """

    def __init__(self, *, window_s: float = 30.0) -> None:
        self._window_s = window_s
        self._began = math.nan
        self._least = self._before = math.inf
        self._at = math.nan

    def taken(self, at: float, *, arrived: float) -> float:
        """When the frame at stream second `at` was taken, on the clock of `arrived`; never after it."""
        if not abs(at - self._at) < self._window_s:  # the first, or the camera has begun to count anew
            self._began, self._least, self._before = arrived, math.inf, math.inf
        elif arrived - self._began >= self._window_s:
            self._began, self._before, self._least = arrived, self._least, math.inf
        self._at = at
        self._least = min(self._least, arrived - at)
        return at + min(self._least, self._before)


class Haste:
    """Says when to decode key frames only: the pipeline does not keep up, or decoding itself does not.

    When it has kept up for `calm_s`, all frames are tried again; if that fails soon, the next try waits twice as long.
    """

    def __init__(self, *, lag_s: float = 1.0, calm_s: float = 5.0, most_s: float = 120.0) -> None:
        """Begin when frames are `lag_s` seconds late, or as many are lost in a second as pass."""
        self._lag_s = lag_s
        self._calm_s = calm_s
        self._hold_s = calm_s
        self._most_s = most_s
        self._until = -math.inf
        self._ended = -math.inf
        self._window = -math.inf
        self._passed = 0
        self._late = 0

    def hurries(self, now: float) -> bool:
        """Whether only key frames are to be decoded at monotonic `now`."""
        return now < self._until

    def frame(self, now: float, *, lag: float, late: int) -> None:
        """Take in a decoded frame: `lag` seconds old when it arrived, `late` frames lost to a full queue in all."""
        self._passed += 1
        if now - self._window < 1.0 and lag < self._lag_s:
            return
        lost, passed = late - self._late, self._passed
        first = self._window == -math.inf
        self._window, self._late, self._passed = now, late, 0
        if lag >= self._lag_s or (not first and lost * 2 >= passed > 1):
            self._hurry(now)

    def _hurry(self, now: float) -> None:
        if self.hurries(now):
            self._until = max(self._until, now + self._calm_s)
            return
        soon = now - self._ended < 2 * self._hold_s
        self._hold_s = min(self._most_s, self._hold_s * 2) if soon else self._calm_s
        self._until = self._ended = now + self._hold_s
