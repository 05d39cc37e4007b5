"""What a run's ledger records, in the order it happened."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Phase(StrEnum):
    """Where a run is."""

    GATHER = "gather"
    STATISTICS = "statistics"
    ROUNDS = "rounds"
    EXPORT = "export"
    CALIBRATE = "calibrate"
    QUANTISE = "quantise"
    JUDGE = "judge"


class DeviceScore(msgspec.Struct, frozen=True, kw_only=True):
    """One device's hold-out score of the float model."""

    examples: int
    correct: int
    loss_sum: float


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind"):
    """A line of the ledger; `at` is Unix seconds."""

    at: float


class AttemptStarted(Event, tag="attempt-started", frozen=True, kw_only=True):
    """A job process took the run up, for the first time or after a crash."""

    flower_run: int
    from_round: int
    """First round that is still to be done."""


class PhaseStarted(Event, tag="phase-started", frozen=True, kw_only=True):
    """The run entered a phase."""

    phase: Phase


class StatisticsTaken(Event, tag="statistics-taken", frozen=True, kw_only=True):
    """Who takes part, and the weights that round 1 begins with; checkpoint 0 is durable."""

    registered: dict[str, int]
    """Device → examples it trains on: the cap for what its updates may claim."""

    holdout: dict[str, int]
    digest: str


class RoundStarted(Event, tag="round-started", frozen=True, kw_only=True):
    """The cohort was drawn and asked."""

    round: int
    cohort: list[str]


class UpdateAccepted(Event, tag="update-accepted", frozen=True, kw_only=True):
    """A client update passed the gate and is part of the sum."""

    round: int
    device: str
    examples: int
    loss: float


class UpdateRefused(Event, tag="update-refused", frozen=True, kw_only=True):
    """A client update is not part of the sum."""

    round: int
    device: str
    reason: str


class UpdateMasked(Event, tag="update-masked", frozen=True, kw_only=True):
    """A masked update is part of the sum; nobody but the device knows it."""

    round: int
    device: str


class PrivacySpent(Event, tag="privacy-spent", frozen=True, kw_only=True):
    """A disclosure about the population, written before anything is disclosed; a repeated one counts once."""

    round: int
    population: str
    release: str
    multiplier: float
    epsilon: float
    """Of the population after it, at `delta`."""

    delta: float


class BudgetReached(Event, tag="budget-reached", frozen=True, kw_only=True):
    """A round was not begun, for it would have passed the budget; the run goes on with the last committed model."""

    round: int
    population: str
    epsilon: float
    """What the population has spent, at `delta`."""

    delta: float
    reason: str


class RoundFinished(Event, tag="round-finished", frozen=True, kw_only=True):
    """The commit point of a round: its checkpoint is durable and has `digest`."""

    round: int
    train_loss: float
    loss: float
    """Mean hold-out loss over the examples of all devices."""

    accuracy: float
    devices: dict[str, DeviceScore]
    accepted: int
    refused: int
    digest: str
    seconds: float


class QueryRefused(Event, tag="query-refused", frozen=True, kw_only=True):
    """A device gave no usable answer in a phase other than the rounds."""

    phase: Phase
    device: str
    reason: str


class RunFailed(Event, tag="run-failed", frozen=True, kw_only=True):
    """The attempt ended without a result; `retry` says whether another one may help."""

    reason: str
    hint: str
    retry: bool


class RunFinished(Event, tag="run-finished", frozen=True, kw_only=True):
    """`result.json` is durable."""

    digest: str
    verdict: str


AnyEvent = (
    AttemptStarted
    | PhaseStarted
    | StatisticsTaken
    | RoundStarted
    | UpdateAccepted
    | UpdateRefused
    | UpdateMasked
    | PrivacySpent
    | BudgetReached
    | RoundFinished
    | QueryRefused
    | RunFailed
    | RunFinished
)
