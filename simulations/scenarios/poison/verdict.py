"""From what the poisoned runs left to what the report says of them: pure functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from simulations.scenarios.poison.attackers import POISONS
from simulations.scenarios.poison.record import Outcome
from simulations.scenarios.rollout.record import Check

MOST_LOST = 2.0
"""Points of accuracy."""

WHOLE, NO_DISTANCE = "whole", "no distance"
MEAN = "mean"

_SEEN = frozenset(poison.name for poison in POISONS)


def checks_of(outcomes: Sequence[Outcome], *, liars: Sequence[str]) -> list[Check]:
    """What must hold of the runs."""
    guarded = [each for each in outcomes if each.attack in _SEEN and each.gate == WHOLE]
    honest = [each for each in outcomes if not each.attack]
    bare = [each for each in outcomes if each.attack and each.gate == NO_DISTANCE and each.rule != MEAN]
    control = [each for each in outcomes if each.gate == NO_DISTANCE and each.rule == MEAN]
    unseen = [each for each in outcomes if each.attack and each not in guarded]
    return [
        _all("seven attacks cost at most 2 points", guarded, lambda each: each.lost <= MOST_LOST, _lost),
        _all("so does a mirrored model that the rule alone must bear", bare, lambda e: e.lost <= MOST_LOST, _lost),
        _all("no model holds a number that is not finite", outcomes, lambda each: each.finite, lambda _: ""),
        _all(
            "the gate's record names all liars and nobody else",
            guarded,
            lambda each: each.quarantined == sorted(liars),
            lambda worst: f"{worst.rule}, {worst.attack}: {', '.join(worst.quarantined) or 'nobody'}",
        ),
        _all(
            "nobody is quarantined where nobody was refused",
            [*honest, *unseen],
            lambda each: not each.quarantined and not each.refused,
            lambda worst: f"{worst.rule}, {worst.attack}: {', '.join(worst.quarantined)}",
        ),
        _all("the control: bare, the mean loses more", control, lambda each: each.lost > MOST_LOST, _lost),
    ]


def _all(
    name: str, outcomes: Sequence[Outcome], holds: Callable[[Outcome], bool], say: Callable[[Outcome], str]
) -> Check:
    broken = [each for each in outcomes if not holds(each)]
    shown = max(broken or outcomes, key=lambda each: each.lost, default=None)
    said = f"{len(outcomes) - len(broken)} of {len(outcomes)} runs" + (
        f"; {say(shown)}" if shown is not None and say(shown) else ""
    )
    return Check(name=name, held=bool(outcomes) and not broken, said=said)


def _lost(worst: Outcome) -> str:
    return f"at worst {worst.lost:.2f} points ({worst.rule}, {worst.attack})"
