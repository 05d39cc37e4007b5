"""What a ledger says for the next draw: who waited how long, and how devices were when they last said."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from cloud.training.events import AnyEvent, RoundFinished, RoundStarted, StatisticsTaken
from cloud.training.selection import Candidate, Draw
from shared.federation import Condition


def candidates(events: Iterable[AnyEvent], registered: Mapping[str, int]) -> dict[str, Candidate]:
    """The registered devices as they stand after the last committed round; unfinished rounds leave no trace."""
    conditions: dict[str, Condition] = {}
    last: dict[str, int] = {}
    done, cohort = 0, list[str]()
    for event in events:
        match event:
            case StatisticsTaken():
                conditions = dict(event.conditions)
            case RoundStarted():
                cohort = event.cohort
            case RoundFinished():
                done = event.round
                last.update(dict.fromkeys(cohort, done))
                conditions.update(event.conditions)
            case _:
                pass
    return {
        device: Candidate(examples, done - last.get(device, 0), conditions.get(device, Condition()))
        for device, examples in registered.items()
    }


def drawn_before(events: Iterable[AnyEvent], round_: int) -> Draw | None:
    """The draw of a round that an earlier attempt began."""
    begun = [event for event in events if isinstance(event, RoundStarted) and event.round == round_]
    if not begun:
        return None
    return Draw(begun[-1].cohort, begun[-1].wanted or len(begun[-1].cohort), dict(begun[-1].excluded))
