"""Follows objects from frame to frame, so that one of them has one number for as long as it is seen.

As in ByteTrack (Zhang et al., 2022): boxes are matched in two passes, the sure ones first and then the weak ones, which
go on with a track and never begin one. A track's box moves on at constant velocity. Matching is greedy by overlap,
which differs from the best assignment only where three boxes or more crowd together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edge.pipelines.answer import Answer, Detection
from edge.pipelines.sources.port import Sample
from shared.objects import overlaps

Boxes = NDArray[np.float64]
"""[n, 4]: y1, x1, y2, x2 as shares of the picture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackSettings:
    """What counts as the same object."""

    sure: float = 0.6
    """Least score of a detection that begins a track, 0 to 1; weaker ones only go on with one."""

    overlap: float = 0.2
    """Least overlap (intersection over union) of a track's expected box with a detection, 0 to 1."""

    lost_s: float = 1.5
    """Seconds unseen after which a track ends."""

    steadiness: float = 0.6
    """Weight of the velocity so far against that of the newest step, 0 to 1."""


@dataclass(slots=True)
class Track:
    """One object that is followed."""

    id: int
    label: str
    box: Boxes
    """[4], as last seen."""

    velocity: Boxes
    """[4], shares of the picture a second."""

    began: float
    seen: float
    """Unix seconds when it was first, and last, seen."""

    def expected(self, at: float) -> Boxes:
        """Where it should be."""
        return np.asarray(self.box + self.velocity * (at - self.seen))


class Tracker:
    """A stage that numbers detections; 0 for those of no track. Numbers begin at 1 with each start of the agent."""

    def __init__(self, settings: TrackSettings | None = None) -> None:
        self._settings = settings or TrackSettings()
        self._next = 1
        self._at = -np.inf
        self.tracks: list[Track] = []

    def __call__(self, sample: Sample, answer: Answer) -> Answer:
        at = sample.at
        if at < self._at:  # the clock was set back: nothing is known about how far anybody went
            self.tracks = []
        self._at = at
        self.tracks = [track for track in self.tracks if at - track.seen <= self._settings.lost_s]
        if not answer.detections and not self.tracks:
            return answer
        numbers = self._numbers(answer.detections, at)
        numbered = [replace(each, track=number) for each, number in zip(answer.detections, numbers, strict=True)]
        return replace(answer, detections=tuple(numbered))

    def _numbers(self, found: Sequence[Detection], at: float) -> list[int]:
        numbers, free = [0] * len(found), list(range(len(self.tracks)))
        sure = [each.score >= self._settings.sure for each in found]
        for wanted in (True, False):
            here = [index for index, each in enumerate(sure) if each is wanted]
            for index, place in self._pairs(found, here, free, at):
                self._follow(self.tracks[place], found[index], at)
                numbers[index] = self.tracks[place].id
                free.remove(place)
        for index, each in enumerate(found):
            if sure[index] and not numbers[index]:
                numbers[index] = self._begin(each, at)
        return numbers

    def _pairs(
        self, found: Sequence[Detection], here: Sequence[int], free: Sequence[int], at: float
    ) -> list[tuple[int, int]]:
        """(detection, track) of the same label, the greatest overlap first; equal ones in order of detection, track."""
        if not here or not free:
            return []
        boxes = np.array([found[index].box for index in here], np.float64)
        expected = np.array([self.tracks[place].expected(at) for place in free], np.float64)
        shared = overlaps(boxes, expected)
        labels = np.array([[found[i].label == self.tracks[place].label for place in free] for i in here])
        shared[~labels] = -1
        pairs, rows, columns = [], set(), set()
        for flat in np.argsort(-shared, axis=None, kind="stable").tolist():
            row, column = divmod(flat, len(free))
            if shared[row, column] < self._settings.overlap:
                break
            if row not in rows and column not in columns:
                rows.add(row)
                columns.add(column)
                pairs.append((here[row], free[column]))
        return pairs

    def _follow(self, track: Track, found: Detection, at: float) -> None:
        box, step = np.array(found.box, np.float64), at - track.seen
        if step > 0:
            keep = self._settings.steadiness if track.seen > track.began else 0.0
            track.velocity = np.asarray(keep * track.velocity + (1 - keep) * (box - track.box) / step)
        track.box, track.seen = box, at

    def _begin(self, found: Detection, at: float) -> int:
        box = np.array(found.box, np.float64)
        track = Track(self._next, found.label, box, np.zeros(4), began=at, seen=at)
        self.tracks.append(track)
        self._next += 1
        return track.id
