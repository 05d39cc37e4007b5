"""How strict a run's gate is: what is refused, what is scaled back, and how often somebody may be refused."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from shared.errors import ContractError

FARTHEST = 1.9
"""How far an update may lie from the global model (L2), as a share of that model's own length; its mirror image lies
at 2. Devices of the two model families went 0.55 in their first round by their lines' recipes, and 1.8 when they
trained on 300 examples for ten epochs instead of one."""

STRIKES = 3
"""One refused update may be training that diverged; three are a device that is broken or lies."""


class GateTerms(msgspec.Struct, frozen=True, kw_only=True):
    """The part of the gate that a run may choose; form, finite numbers and example counts are never a choice."""

    farthest: float | None = FARTHEST
    """Share of the global model's length beyond which an update is refused; none leaves it to the rule."""

    clip: float | None = None
    """Longest way from the global model (L2, in the weights' own unit) that counts whole; a longer one is scaled back
    to this, as in arXiv:1911.07963, section 4. None for no such bound."""

    clip_to_median: float | None = None
    """The same bound as a multiple of the median way of the round before; the first round has none. More than half of
    a cohort must lie to move a median beyond what honest devices went."""

    strikes: int = STRIKES
    """Rounds in which a device's update was refused before it is quarantined; 0 for never."""


def check_terms(terms: GateTerms) -> GateTerms:
    """Return terms that can be kept.

    Raises:
        ContractError: a bound that is none, two bounds for one thing, or a negative number of strikes.
    """
    bounds = {"farthest": terms.farthest, "clip": terms.clip, "clip_to_median": terms.clip_to_median}
    for name, value in bounds.items():
        if value is not None and not 0.0 < value < float("inf"):
            raise ContractError(f"the gate's {name} is {value!r}, no bound", hint="Give a number above 0, or null.")
    if terms.clip is not None and terms.clip_to_median is not None:
        raise ContractError("the gate has two bounds to clip to", hint="Give `clip` or `clip_to_median`.")
    if terms.strikes < 0:
        raise ContractError("the gate's strikes are below 0", hint="Give 0 to quarantine nobody.")
    return terms


def clip_bound(terms: GateTerms, ways: Sequence[float]) -> float | None:
    """Where updates of a round are clipped.

    Args:
        terms: of the run.
        ways: how far the accepted updates of the round before went, before they were clipped; in any order.
    """
    if terms.clip_to_median is None:
        return terms.clip
    if not ways:
        return None
    ordered = sorted(ways)
    # the lower one of two middles: with half of a cohort lying, it is still an honest device's
    return terms.clip_to_median * ordered[(len(ordered) - 1) // 2] or None
