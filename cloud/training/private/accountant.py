"""What a population has paid: charges, their ε, and whether one more fits.

The accountant is dp-accounting's, on Rényi divergences (Mironov, arXiv:1702.07476). Two datasets are neighbours
when one device's update is a zero vector in one of them (arXiv:2103.00039, definition 1.1): who took part is not
hidden, only what with.

No amplification by sampling is claimed. The cohort is a function of the run's seed, which the coordinator knows and
orders may choose, so to those whom the noise shall keep from the data a cohort is no secret; and a device can be in
every round. Each disclosure counts for everybody in full.
"""

from __future__ import annotations

from collections.abc import Iterable

import dp_accounting
from dp_accounting import rdp

from cloud.training.private.terms import Charge, Noise
from shared.errors import RefusedError


class BudgetError(RefusedError):
    """The next round would pass the budget."""


def epsilon(charges: Iterable[Charge], delta: float) -> float:
    """The ε of all charges together at `delta`; 0 of none."""
    accountant = rdp.RdpAccountant(neighboring_relation=dp_accounting.NeighboringRelation.REPLACE_SPECIAL)
    multipliers = sorted(charge.multiplier for charge in distinct(charges))  # sorted: floats add up in this order
    for multiplier in multipliers:
        accountant.compose(dp_accounting.GaussianDpEvent(multiplier))
    return float(accountant.get_epsilon(delta)) if multipliers else 0.0


def distinct(charges: Iterable[Charge]) -> list[Charge]:
    """Each disclosure once: the same sum under the same noise tells nothing new."""
    return list({(charge.run, charge.round, charge.release): charge for charge in charges}.values())


def check_budget(charges: Iterable[Charge], noise: Noise, *, population: str) -> float:
    """Return the ε of `charges`, the last of which is still to be made.

    Raises:
        BudgetError: it is beyond the budget.
    """
    spent = epsilon(charges, noise.delta)
    if spent > noise.epsilon:
        raise BudgetError(
            f"the next round would bring {population} to ε = {spent:.4g} at δ = {noise.delta:g},"
            f" its budget is {noise.epsilon:g}",
            hint="More noise or fewer rounds; a greater budget is a promise to the population that is changed.",
        )
    return spent
