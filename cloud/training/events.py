"""What a run's ledger records, in the order it happened."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from shared.federation import Condition


class Phase(StrEnum):
    """Where a run is."""

    GATHER = "gather"
    STATISTICS = "statistics"
    ROUNDS = "rounds"
    EXPORT = "export"
    CALIBRATE = "calibrate"
    QUANTISE = "quantise"
    JUDGE = "judge"


class Cause(StrEnum):
    """Why nothing was taken from a device."""

    GATE = "gate"
    """What it sent did not pass: a strike (`cloud.training.quarantine`)."""

    FAILED = "failed"
    """It says that it could not do what it was asked."""

    SILENT = "silent"
    VETOED = "vetoed"
    """Its owner does not allow this run now."""


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
    conditions: dict[str, Condition] = {}
    """What devices said of themselves, for the draw of round 1."""


class RoundStarted(Event, tag="round-started", frozen=True, kw_only=True):
    """The cohort was drawn and asked."""

    round: int
    cohort: list[str]
    wanted: int = 0
    """How many of the cohort the round is after; 0 for all."""

    excluded: dict[str, str] = {}
    """Device that could not be drawn → why."""

    deadline_s: float = 0.0
    """Seconds after which the round closes; 0 in ledgers that do not say."""

    quarantined: list[str] = []
    """Devices that were left out for their strikes."""


class ClientAsked(Event, tag="client-asked", frozen=True, kw_only=True):
    """One more device trains, from the weights that are the newest now; training with a buffer only."""

    round: int
    device: str


class UpdateAccepted(Event, tag="update-accepted", frozen=True, kw_only=True):
    """A client update passed the gate and is part of the sum."""

    round: int
    device: str
    examples: int
    loss: float
    staleness: int = 0
    """Commits that overtook it while it was made."""

    way: float = 0.0
    """How far it went from the global model (L2), before it was clipped."""

    clipped: bool = False
    """Whether it was scaled back to the round's bound."""


class UpdateRefused(Event, tag="update-refused", frozen=True, kw_only=True):
    """A client update is not part of the sum."""

    round: int
    device: str
    reason: str
    cause: Cause = Cause.FAILED
    check: str = ""
    """What the gate looked at, `cloud.training.gate.Check`; empty for other causes."""

    measured: str = ""
    """What it found there."""


class UpdateLate(Event, tag="update-late", frozen=True, kw_only=True):
    """The round closed without this device, which did nothing wrong."""

    round: int
    device: str


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
    """Of the cohort, whose updates are not part of the sum for another reason than a veto."""

    digest: str
    seconds: float
    late: int = 0
    contributors: dict[str, int] = {}
    """Device whose update is part of the sum → its examples: with the digest, what the commit stands for."""

    conditions: dict[str, Condition] = {}
    """What devices said of themselves, for the draw of the next round."""

    vetoed: int = 0
    """Of the cohort, whose owners did not allow it."""


class QueryRefused(Event, tag="query-refused", frozen=True, kw_only=True):
    """A device gave no usable answer in a phase other than the rounds."""

    phase: Phase
    device: str
    reason: str
    cause: Cause = Cause.FAILED


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
    | ClientAsked
    | UpdateAccepted
    | UpdateRefused
    | UpdateLate
    | UpdateMasked
    | PrivacySpent
    | BudgetReached
    | RoundFinished
    | QueryRefused
    | RunFailed
    | RunFinished
)
