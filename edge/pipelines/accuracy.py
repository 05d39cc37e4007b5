"""Live accuracy: predictions wait for the labels that people give later."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from typing import NamedTuple


class Bucket(NamedTuple):
    """What labelled predictions are counted by."""

    release: str
    phase: str


class Tally(NamedTuple):
    """Labelled predictions, and how many of them were right."""

    labelled: int
    correct: int


class LiveAccuracy:
    """The last predictions of one pipeline, by input id; the oldest are forgotten unlabelled."""

    def __init__(self, *, capacity: int = 20_000) -> None:
        self._capacity = capacity
        self._waiting: OrderedDict[str, tuple[int, Bucket]] = OrderedDict()
        self._tallies: defaultdict[Bucket, Tally] = defaultdict(lambda: Tally(0, 0))

    def predicted(self, sample: str, *, index: int, bucket: Bucket) -> None:
        """Remember that `sample` was put into class `index`."""
        self._waiting[sample] = (index, bucket)
        self._waiting.move_to_end(sample)
        if len(self._waiting) > self._capacity:
            self._waiting.popitem(last=False)

    def labelled(self, sample: str, label: int) -> bool:
        """Count the label of `sample` once; False when its prediction is unknown or was counted before."""
        waiting = self._waiting.pop(sample, None)
        if waiting is None:
            return False
        index, bucket = waiting
        before = self._tallies[bucket]
        self._tallies[bucket] = Tally(before.labelled + 1, before.correct + (index == label))
        return True

    def drain(self) -> dict[Bucket, Tally]:
        """What was counted since the last drain."""
        tallies, self._tallies = dict(self._tallies), defaultdict(lambda: Tally(0, 0))
        return tallies
