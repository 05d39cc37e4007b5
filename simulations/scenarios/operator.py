"""A person who labels what a device recorded: late, in order, and from the truth that only the simulation knows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from simulations.scenarios.cast import LABELLED, Stream

DELAY_S = 3.0
"""Seconds after a window was inferred until its label comes, at the earliest."""


@dataclass(slots=True)
class Labeller:
    """Labels the windows of one device, whose agent picks them up from its label inbox."""

    stream: Stream
    pipeline: str
    task: str
    inbox: Path
    _seen: list[tuple[float, int]] = field(default_factory=list)
    """(when, how many windows had been inferred by then), oldest first."""

    _labelled: int = 0

    def observe(self, inferred: int, *, at: float) -> None:
        """Take note that the device has reported `inferred` windows so far."""
        self._seen.append((at, inferred))

    def last_before(self, index: int) -> float | None:
        """When the device was last known not to have inferred window `index` yet; None if it was never asked before."""
        return max((at for at, count in self._seen if count <= index), default=None)

    def label_once(self, *, at: float) -> int:
        """Drop the labels that are due into the inbox; return how many."""
        due = max((count for when, count in self._seen if at - when >= DELAY_S), default=0)
        first, self._labelled = self._labelled, max(self._labelled, due)
        rows = [self._row(index) for index in range(first, self._labelled)]
        if rows:
            self._drop("".join(json.dumps(row) + "\n" for row in rows), name=f"{first:08d}.jsonl")
        return len(rows)

    def _row(self, index: int) -> dict[str, object]:
        return {
            "id": f"{self.pipeline}:{index}",
            "task": self.task,
            "y": self.stream.truth(index),
            "train": self.stream.phase(index) == LABELLED,
        }

    def _drop(self, text: str, *, name: str) -> None:
        self.inbox.mkdir(parents=True, exist_ok=True)
        part = self.inbox / f".{name}"
        part.write_text(text)
        part.rename(self.inbox / name)  # the agent must never meet half a file


def label_all(labellers: Mapping[str, Labeller], inferred: Mapping[str, int], *, at: float) -> int:
    """One turn of all labellers; `inferred` says how many windows each device has reported."""
    for device, labeller in labellers.items():
        labeller.observe(inferred.get(device, 0), at=at)
    return sum(labeller.label_once(at=at) for labeller in labellers.values())
