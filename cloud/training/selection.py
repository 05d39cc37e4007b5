"""Who is drawn into a round: what devices say of themselves, and when they last took part.

A draw is a function of the seed, the round, and facts that the ledger holds, so a restart repeats it. Chance is by
rendezvous hashing as in `cohort`: a device's ticket u in (0, 1) depends on nobody else, and the least of -ln(1 - u)/w
are drawn, which draws without replacement with weights w (Efraimidis and Spirakis 2006, algorithm A-Res). With all
weights equal that is `cohort`'s own draw.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from cloud.training.cohort import ticket
from shared.errors import ContractError
from shared.federation import Condition

TICKETS = 1 << 64


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """Whom a run may draw, and whom it prefers. What a device does not say never excludes it."""

    over: float = 0.0
    """Share drawn beyond the wanted number, for those that will be slow or gone; 0 to 1."""

    least_charge: float = 0.0
    """Percent a battery must hold where the device runs on it; 0 asks nothing."""

    most_heat_c: float | None = None
    """Devices hotter than this (°C) rest; None asks nothing."""

    metered: bool = True
    """Whether devices on links that cost by the byte take part."""

    least_examples: int = 1
    """Devices that train on fewer are not drawn."""

    data: float = 0.0
    """Weight of a device grows with its examples to this power, 0 to 1; at 0 all count the same."""

    fairness: float = 0.0
    """Weight grows with the rounds since the device was last drawn to this power, 0 to 4."""

    patience: int = 0
    """Whoever was passed over for this many rounds goes first; 0 leaves it to chance."""


class Candidate(NamedTuple):
    """A device as the ledger knows it before a round."""

    examples: int
    """It trains on."""

    waited: int = 0
    """Rounds since it was last drawn, or since the first one."""

    condition: Condition = Condition()


class Draw(NamedTuple):
    """A round's cohort."""

    cohort: list[str]
    """Sorted."""

    wanted: int
    """How many of them the round is after; the rest is spare."""

    excluded: dict[str, str]
    """Device → why it could not be drawn."""


def check_selection(selection: Selection) -> None:
    """Raise `ContractError` unless the policy can be followed."""
    shares = 0 <= selection.over <= 1 and 0 <= selection.data <= 1 and 0 <= selection.fairness <= 4
    if not shares or not 0 <= selection.least_charge <= 100 or min(selection.patience, selection.least_examples) < 0:
        raise ContractError(
            "the selection policy is out of range",
            hint="over and data from 0 to 1, fairness to 4, least_charge to 100, patience and least_examples from 0.",
        )


def draw(
    policy: Selection, candidates: Mapping[str, Candidate], *, seed: int, round_: int, fraction: float, least: int = 1
) -> Draw:
    """Draw a round's cohort.

    The wanted number is `fraction` of all candidates, and at least `least`, as far as so many may be drawn. Excluded
    devices are replaced by others where there are any.

    With patience p, a device that may be drawn in every round is drawn at least once in any p + ⌈n / k⌉ + 1 rounds
    for n candidates and k drawn: whoever is overdue is served in the order of waiting.
    """
    able, excluded = eligible(policy, candidates)
    wanted = min(max(math.ceil(fraction * len(candidates)), least), len(able))
    number = min(math.ceil(wanted * (1 + policy.over)), len(able))

    def place(device: str) -> tuple[int, float, int, str]:
        one, lot = able[device], ticket(seed, round_, device)
        overdue = one.waited if policy.patience and one.waited >= policy.patience else 0
        return (-overdue, -math.log1p(-lot / (TICKETS + 1)) / _weight(policy, one), lot, device)

    return Draw(sorted(sorted(able, key=place)[:number]), wanted, excluded)


def eligible(policy: Selection, candidates: Mapping[str, Candidate]) -> tuple[dict[str, Candidate], dict[str, str]]:
    """Who may be drawn, and why the others may not."""
    excluded = {device: why for device, one in sorted(candidates.items()) if (why := _obstacle(policy, one))}
    return {device: one for device, one in candidates.items() if device not in excluded}, excluded


def _obstacle(policy: Selection, one: Candidate) -> str:
    """Why the device rests; empty when it may be drawn."""
    said = one.condition
    if said.on_battery and said.charge is not None and said.charge < policy.least_charge:
        return f"its battery holds {said.charge:.0f} %, {policy.least_charge:.0f} % are asked for"
    if policy.most_heat_c is not None and said.heat_c is not None and said.heat_c > policy.most_heat_c:
        return f"it is {said.heat_c:.0f} °C hot, {policy.most_heat_c:.0f} °C are allowed"
    if said.metered and not policy.metered:
        return "its link costs by the byte"
    if one.examples < policy.least_examples:
        return f"it trains on {one.examples} examples, {policy.least_examples} are asked for"
    return ""


def _weight(policy: Selection, one: Candidate) -> float:
    return float(max(one.examples, 1) ** policy.data * (1 + one.waited) ** policy.fairness)
