"""When a round closes: after the time that earlier rounds took, or once enough of its cohort has answered."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import msgspec

from cloud.training.events import AnyEvent, RoundFinished, RoundStarted, UpdateAccepted
from shared.errors import ContractError

LEAST_SAMPLES = 4
"""Durations below which nothing is concluded from them."""

RECENT = 200
"""Durations looked at: devices grow slower and faster."""


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """How long a round waits. By default to the run's `round_timeout_s` for everybody that was drawn."""

    factor: float = 0.0
    """The deadline is this times the quantile of earlier durations; 0 keeps `round_timeout_s`."""

    quantile: float = 0.9
    least_s: float = 5.0
    """No deadline is shorter; `round_timeout_s` is the longest."""

    quorum: float = 0.0
    """Share of the wanted number whose updates close the round; 0 waits for all, 1 lets over-selection pay."""

    budget_s: float = 0.0
    """Seconds of training granted to a device, which then hands in what it has; 0 grants as many as it takes."""


def check_pace(pace: Pace) -> None:
    """Raise `ContractError` unless the pace can be kept."""
    if not 0 <= pace.quorum <= 1 or not 0 < pace.quantile <= 1 or min(pace.factor, pace.least_s, pace.budget_s) < 0:
        raise ContractError("the pace is out of range", hint="quorum and quantile from 0 to 1, nothing below 0.")


def deadline_s(pace: Pace, durations: Sequence[float], *, timeout_s: float) -> float:
    """Seconds after which a round closes over whoever has answered.

    Args:
        pace: the policy.
        durations: seconds from the start of a round to a device's accepted update, in the order they happened; a
            round that was cut short counts those who did not make it as `timeout_s`, or deadlines would only shrink.
        timeout_s: the longest deadline.
    """
    recent = sorted(durations[-RECENT:])
    if not pace.factor or len(recent) < LEAST_SAMPLES:
        return timeout_s
    slow = recent[math.ceil(pace.quantile * len(recent)) - 1]
    return min(max(pace.factor * slow, pace.least_s), timeout_s)


def enough(pace: Pace, *, accepted: int, wanted: int, least: int) -> bool:
    """Whether a round may close before all of its cohort has answered."""
    return bool(pace.quorum) and accepted >= max(math.ceil(pace.quorum * wanted), least)


def durations(events: Iterable[AnyEvent], *, timeout_s: float) -> list[float]:
    """How long devices took in the committed rounds of a ledger; who was late counts as `timeout_s`."""
    found: list[float] = []
    began = 0.0
    cohort: list[str] = []
    took: dict[str, float] = {}
    for event in events:
        match event:
            case RoundStarted():
                began, cohort, took = event.at, event.cohort, {}
            case UpdateAccepted():
                took[event.device] = max(event.at - began, 0.0)
            case RoundFinished():
                found += sorted(took.get(device, timeout_s) for device in cohort)
            case _:
                pass
    return found
