"""What the report of a simulated training says."""

from __future__ import annotations

import msgspec

from simulations.scenarios.rollout.record import Check


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """One round."""

    round: int
    updates: int
    seconds: float
    """From the first message to the new weights; scoring them is not in it."""

    loss: float
    """Mean over the clients' examples, while they trained."""

    accuracy: float
    """Of the new weights on the 10,000 test images, which no client holds."""


class TrainingReport(msgspec.Struct, frozen=True, kw_only=True):
    """The scenario."""

    scenario: str
    seed: int
    seconds: float
    task: str
    clients: int
    alpha: float
    strategy: str
    grid: str
    cores: int
    examples: int
    """All clients' training parts together."""

    fewest: int
    most: int
    """Examples of the smallest and the largest client."""

    accuracy_before: float
    rounds: list[Round]
    digest: str
    """Of the final weights."""

    checks: list[Check]
    notes: list[str]

    @property
    def held(self) -> bool:
        """Whether every check did."""
        return all(check.held for check in self.checks)

    @property
    def updates_a_second(self) -> float:
        """Client updates of all rounds over their seconds."""
        return sum(each.updates for each in self.rounds) / max(sum(each.seconds for each in self.rounds), 1e-9)
