"""The record of one run of the `private` scenario: the schema of `report/private.json`."""

from __future__ import annotations

import msgspec

from simulations.scenarios.rollout.record import Check


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """A round under secure aggregation beside the same round in the clear."""

    name: str
    devices: int
    lost: int
    """Of them, how many did not answer at the stage that the name tells."""

    summed: int
    """Updates in the sum."""

    error: float
    """Greatest difference of a weight."""

    bound: float
    """Half a step of the fixed-point numbers, and what float32 rounds."""

    accuracy: float
    """On the devices' hold-outs, after the round; 0 to 1."""

    plain_accuracy: float
    seconds: float
    plain_seconds: float


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """A run with noise and a budget."""

    budget: float
    delta: float
    multiplier: float
    rounds_wanted: int
    rounds_done: int
    ledger: float
    """ε of the last payment in the run's ledger."""

    independent: float
    """ε that dp-accounting gives for the rounds done, computed here from the terms alone."""

    exact: float
    """ε of as many Gaussian mechanisms by the analytic formula: what the Rényi accountant cannot be below."""

    accuracy: float
    reason: str


class PrivateReport(msgspec.Struct, frozen=True, kw_only=True):
    """The whole run."""

    scenario: str
    seed: int
    seconds: float
    devices: int
    examples: int
    weights: int
    comparisons: list[Comparison]
    budget: Budget
    checks: list[Check]

    @property
    def held(self) -> bool:
        """Whether everything that must hold was seen to."""
        return bool(self.checks) and all(check.held for check in self.checks)
