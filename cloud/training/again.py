"""Which questions to a device must be asked again: those whose answer, or whose device's memory, was lost on the way.

A message that a node has fetched is never delivered a second time, and a reply that the SuperLink has handed out is
never handed out again. So whoever is killed between fetching and answering takes the question with it; without these
rules a round would lose that device, and with it the digest of an undisturbed run.

Asking twice is safe: what a device answers is a function of the question and of its data, and the second answer to
the same question is dropped.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Q = TypeVar("Q", bound=Hashable)

FIRST_SILENCE_S = 10.0
"""Least silence after which a question counts as lost; doubles with each repetition."""

SLOWER = 3.0
"""A question is not lost before this many times the longest answer so far has passed: training may take hours."""

PAUSE_S = 1.0
"""Between two looks whether a device that was away is back."""


@dataclass(slots=True)
class _Open:
    asked: float
    """When it was asked last, monotonic seconds."""

    begun: float
    silence: float = FIRST_SILENCE_S
    away_since: float | None = None


@dataclass(slots=True)
class Questions(Generic[Q]):
    """The open questions of one turn."""

    return_s: float
    """How long a device that the SuperLink calls away may take to come back, before its absence is its answer."""

    longest: float = 0.0
    """Seconds of the slowest answer so far; the next turn's questions begin with it."""

    _open: dict[Q, _Open] = field(default_factory=dict)

    def ask(self, questions: Iterable[Q], *, at: float) -> None:
        """Note that these were asked now."""
        self._open.update({question: _Open(at, at) for question in questions})

    def answered(self, question: Q, *, at: float) -> bool:
        """Close a question; False when it was closed before."""
        closed = self._open.pop(question, None)
        if closed is not None:
            self.longest = max(self.longest, at - closed.asked)
        return closed is not None

    def lost(self, question: Q) -> None:
        """Its message or its reply is gone, and the device is there: it is due at once."""
        if (one := self._open.get(question)) is not None:
            one.silence = 0.0

    def away(self, question: Q, *, at: float) -> bool:
        """Its device is away; returns False once it has been for too long, which closes the question."""
        one = self._open.get(question)
        if one is None:
            return True
        if one.away_since is None:
            one.away_since = at
        if at - one.away_since >= self.return_s:
            del self._open[question]
            return False
        one.asked, one.silence = at, PAUSE_S
        return True

    def due(self, *, at: float) -> list[Q]:
        """What must be asked again now, oldest first; the caller does."""
        found = []
        for question, one in self._open.items():
            patience = one.silence if one.silence <= PAUSE_S else max(one.silence, SLOWER * self.longest)
            if at - one.asked >= patience:
                one.asked, one.silence = at, max(2 * one.silence, FIRST_SILENCE_S)
                found.append(question)
        return found

    def __bool__(self) -> bool:
        return bool(self._open)
