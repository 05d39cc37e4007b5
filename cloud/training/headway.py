"""How far a run has got: what decides whether another attempt is worth while.

A run that is killed forty times and gets on each time is no failing run; one whose attempts end at the same place is.
So attempts count since the last headway, and headway is what survives a kill: the statistics, a committed round, or a
phase after the rounds that no attempt had reached before.
"""

from __future__ import annotations

from collections.abc import Iterable

from cloud.training.events import AnyEvent, Phase, PhaseStarted, RoundFinished, StatisticsTaken

_LATER = (Phase.EXPORT, Phase.CALIBRATE, Phase.QUANTISE, Phase.JUDGE)


def headway(events: Iterable[AnyEvent]) -> int:
    """A number that only grows, by one for each step that was made for the first time."""
    made: set[str] = set()
    for event in events:
        match event:
            case StatisticsTaken():
                made.add("statistics")
            case RoundFinished():
                made.add(f"round {event.round}")
            case PhaseStarted() if event.phase in _LATER:
                made.add(event.phase.value)
            case _:
                pass
    return len(made)
