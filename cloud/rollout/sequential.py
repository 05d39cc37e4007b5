"""Is the challenger worse than the champion? A test that may be looked at after every report.

Both models answer the same live inputs, so what counts is the paired difference of an input, challenger less
champion, in [-1, 1]: right or wrong answers differ by -1, 0 or 1, confidences by anything between. Looking again
and again until the numbers please breaks ordinary tests; an e-process may be looked at for ever (Ville's inequality:
under the hypothesis it passes 1/α with probability at most α). Ours is the capital of somebody who bets against the
hypothesis, averaged over fixed stakes: Waudby-Smith and Ramdas, "Estimating means of bounded random variables by
betting", JRSS B 86 (2024), section 4; Howard, Ramdas, McAuliffe and Sekhon, Annals of Statistics 49 (2021).

Fixed stakes make it a function of counts alone: it does not matter in which order devices report, and counts merge.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import StrEnum

import msgspec

from shared.errors import ContractError

STAKES = tuple(2.0**-k for k in range(7))
"""Shares of the largest stake that cannot ruin; small ones find small differences, large ones find disasters early."""


class Verdict(StrEnum):
    """What the evidence allows."""

    NOT_WORSE = "not worse"
    WORSE = "worse"
    OPEN = "open"
    """Neither yet."""


class Tolerance(msgspec.Struct, frozen=True, kw_only=True):
    """How much worse is still good enough, and how often the verdict may be wrong."""

    margin: float = 0.02
    """Loss of the mean that is tolerated, 0 to 1: with 0.02 a challenger may be right two times less in a hundred."""

    promote_error: float = 0.05
    """Probability, at most, of ever calling a challenger not worse that loses more than `margin`."""

    halt_error: float = 0.05
    """Probability, at most, of ever calling a challenger worse that does not lose more than `margin`."""

    @property
    def needed(self) -> float:
        """Natural logarithm of the capital at which a challenger counts as not worse."""
        return -math.log(self.promote_error)


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What the inputs seen so far say."""

    inputs: int
    mean: float
    """Of the differences, -1 to 1; 0 without inputs."""

    not_worse: float
    """Natural logarithm of the capital won against "it loses more than the margin"."""

    worse: float
    """The same against "it does not"."""

    verdict: Verdict


def judge(counts: Mapping[float, int], tolerance: Tolerance) -> Evidence:
    """Weigh paired differences.

    Args:
        counts: difference in [-1, 1] → inputs that had it, over all devices. Round a difference down to its bin, and
            the promise for `promote_error` still holds.
        tolerance: what is asked.

    Raises:
        ContractError: a difference is out of range, or a count negative.
    """
    if any(not -1.0 <= value <= 1.0 or count < 0 for value, count in counts.items()):
        raise ContractError("paired differences lie between -1 and 1, and their counts are not negative")
    total = sum(counts.values())
    up = _capital({value: n for value, n in counts.items() if n}, mean=-tolerance.margin)
    down = _capital({-value: n for value, n in counts.items() if n}, mean=tolerance.margin)
    return Evidence(
        inputs=total,
        mean=sum(value * n for value, n in counts.items()) / total if total else 0.0,
        not_worse=up,
        worse=down,
        verdict=_verdict(up, down, tolerance),
    )


def merge(*counts: Mapping[float, int]) -> dict[float, int]:
    """The counts of several devices together."""
    merged: dict[float, int] = {}
    for each in counts:
        for value, count in each.items():
            merged[value] = merged.get(value, 0) + count
    return merged


def _verdict(up: float, down: float, tolerance: Tolerance) -> Verdict:
    # both cannot hold for one truth; if chance has it so, the careful answer counts
    if down >= -math.log(tolerance.halt_error):
        return Verdict.WORSE
    return Verdict.NOT_WORSE if up >= tolerance.needed else Verdict.OPEN


def _capital(counts: Mapping[float, int], *, mean: float) -> float:
    """Logarithm of the mean capital of all stakes against "the mean is at most `mean`"."""
    largest = 1.0 / (1.0 + mean)  # the worst difference is -1: with this stake it takes everything
    logs = [
        sum(count * _log1p(share * largest * (value - mean)) for value, count in counts.items()) for share in STAKES
    ]
    top = max(logs)
    if top == -math.inf:
        return top
    return top + math.log(sum(math.exp(each - top) for each in logs) / len(logs))


def _log1p(gain: float) -> float:
    return math.log1p(gain) if gain > -1.0 else -math.inf
