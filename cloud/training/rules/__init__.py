"""How the updates of a round become one: rules over an `UpdateStore`, a stretch of all clients at a time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cloud.training.rules.krum import Krum, krum
from cloud.training.rules.mean import Mean, mean_into
from cloud.training.rules.order import Median, TrimmedMean, median, trimmed_mean
from cloud.training.rules.sweep import Sink
from cloud.training.updates import UpdateStore
from shared.errors import ContractError

__all__ = ["Krum", "Mean", "Median", "Rule", "TrimmedMean", "check_rule", "combine", "combined", "least"]

Rule = Mean | TrimmedMean | Median | Krum


def combine(rule: Rule, updates: UpdateStore, into: Sink) -> None:
    """Make one vector of the updates of a round, and hand it on a stretch at a time: nobody needs to hold it.

    Raises:
        ContractError: there are fewer than the rule needs.
        FaultError: the disk is failing.
    """
    if len(updates) < least(rule):
        raise ContractError(f"{len(updates)} updates are fewer than the {least(rule)} that this rule needs")
    match rule:
        case Mean():
            mean_into(updates, into)
        case TrimmedMean():
            trimmed_mean(updates, into, share=rule.share)
        case Median():
            median(updates, into)
        case Krum():
            krum(updates, into, attackers=rule.attackers, keep=rule.keep)


def combined(rule: Rule, updates: UpdateStore) -> NDArray[np.float32]:
    """The whole of what `combine` hands on."""
    vector = np.empty(updates.size, dtype=np.float32)

    def keep(start: int, part: NDArray[np.float32]) -> None:
        vector[start : start + part.size] = part

    combine(rule, updates, keep)
    return vector


def least(rule: Rule) -> int:
    """The fewest updates that a rule can make one of and keep what it promises."""
    return max(2 * rule.attackers + 3, rule.keep) if isinstance(rule, Krum) else 1


def check_rule(rule: Rule) -> None:
    """Refuse a rule whose numbers make no sense.

    Raises:
        ContractError: the message names the field.
    """
    if isinstance(rule, TrimmedMean) and not 0.0 <= rule.share < 0.5:
        raise ContractError(f"a trimmed mean cannot cut {rule.share} of the updates at each end: below 0.5")
    if isinstance(rule, Krum) and (rule.attackers < 0 or rule.keep < 1):
        raise ContractError("Krum withstands 0 or more attackers and keeps 1 or more updates")
