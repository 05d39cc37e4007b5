"""What the report of the poisoned runs says."""

from __future__ import annotations

import msgspec

from simulations.scenarios.rollout.record import Check


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """One run."""

    rule: str
    attack: str
    """Empty for the run without attackers."""

    gate: str
    """`whole`, or `no distance` where the gate left it to the rule."""

    accuracy: float
    """On the test images, which no device holds."""

    lost: float
    """Points of accuracy less than the same rule without attackers; negative for more."""

    finite: bool
    """Whether every checkpoint holds finite numbers only."""

    refused: dict[str, int]
    """What the gate looked at → updates it refused for that."""

    reasons: list[str]
    """In its own words, each once; at most three."""

    quarantined: list[str]
    """Devices that the ledger says were left out of the last round."""

    digest: str


class PoisonReport(msgspec.Struct, frozen=True, kw_only=True):
    """The scenario."""

    scenario: str
    seed: int
    seconds: float
    devices: int
    liars: list[str]
    rounds: int
    images: int
    outcomes: list[Outcome]
    checks: list[Check]
    notes: list[str]

    @property
    def held(self) -> bool:
        """Whether every check did."""
        return all(check.held for check in self.checks)
