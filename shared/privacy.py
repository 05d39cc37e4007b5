"""What the API says and hears of populations' privacy budgets; part of `shared.api`."""

from __future__ import annotations

import msgspec

from shared.access import Vote


class Disclosure(msgspec.Struct, frozen=True, kw_only=True):
    """A sum of updates that was made known under noise."""

    run: str
    round: int
    at: float
    multiplier: float
    """Standard deviation of the noise by the greatest influence of one device."""

    epsilon: float
    """What the population has spent after it, over all runs, at `delta`."""

    delta: float


class Population(msgspec.Struct, frozen=True, kw_only=True):
    """What is known about a population, and what may be."""

    population: str
    epsilon: float
    """Spent so far, at `delta`; 0 if nothing."""

    delta: float
    budget_epsilon: float | None = None
    """What no run may pass, at `budget_delta`; None if nothing was promised, and each run has its own terms only."""

    budget_delta: float | None = None
    proposed_epsilon: float | None = None
    """A greater budget that waits for people, at `proposed_delta`; None if none does."""

    proposed_delta: float | None = None
    proposed_by: str = ""
    proposal: str = ""
    """What approvers vote on: digest of the proposal."""

    votes: list[Vote] = []
    disclosures: list[Disclosure]
    """Oldest first; those of runs that the caller may see."""


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """Promise a population a budget over all runs."""

    epsilon: float
    delta: float
    """Well below one by the number of devices."""

    reason: str = ""
    """What was promised to whom; for the audit log."""
