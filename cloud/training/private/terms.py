"""The terms of a private run: part of its spec and of a model line."""

from __future__ import annotations

import math
from enum import StrEnum

import msgspec

from shared.errors import ContractError, RefusedError
from shared.ids import check_name
from shared.secagg import LEAST_NEIGHBOURS


class Where(StrEnum):
    """Who adds the noise of differential privacy."""

    CENTRAL = "central"
    """The coordinator, to the sum: it is trusted to do so, and whoever sees only models is kept from the data."""

    LOCAL = "local"
    """Every device, to its own update before it is masked: the coordinator need not be trusted; costs accuracy."""


class Charge(msgspec.Struct, frozen=True, kw_only=True):
    """One disclosure about a population: a Gaussian mechanism that was run on all of it."""

    run: str
    round: int
    release: str
    """What was disclosed: a digest of the noiseless sum, or which request it was."""

    multiplier: float
    """Standard deviation of the noise by the greatest influence of one device."""


class Noise(msgspec.Struct, frozen=True, kw_only=True):
    """Differential privacy of whole devices (McMahan et al., arXiv:1710.06963), and its budget."""

    epsilon: float
    """Budget of the population over all runs, at `delta`; the round that would pass it is not begun."""

    delta: float
    """Well below one by the number of devices."""

    clip: float
    """L2 bound on each device's update, in units of the weights."""

    multiplier: float
    """Standard deviation of the noise by the greatest influence of one device."""

    where: Where = Where.CENTRAL

    population: str = ""
    """Whose data this is; the task's name when empty. Runs of all lines with the same one share what is spent."""


class Private(msgspec.Struct, frozen=True, kw_only=True):
    """Secure aggregation, and differential privacy if `noise` is given."""

    least: int = 3
    """Updates that a sum must have to be opened."""

    neighbours: int = 0
    """Peers with which a device shares secrets, an even number; 0 for everybody in the cohort."""

    threshold: float = 0.5
    """Share of the neighbours beyond which they rebuild a secret, 0.5 to below 1; the others may drop out."""

    reach: float = 1.0
    """Greatest change of one weight in one device's update; beyond it is clipped. With noise the clip bound rules."""

    stage_timeout_s: float = 20.0
    """How long a stage without training waits for a device."""

    noise: Noise | None = None

    spent: tuple[Charge, ...] = ()
    """What the population paid before this run; the coordinator fills it in."""

    def shares(self, neighbours: int) -> int:
        """How many shares rebuild a secret that `neighbours` hold: more than half."""
        return math.floor(self.threshold * neighbours) + 1


def check_private(terms: Private, *, devices: int) -> Private:
    """Return the terms if a run of so many devices can keep them.

    Raises:
        ContractError: a number is out of range.
    """
    noise = terms.noise
    if noise is not None and noise.population:
        check_name(noise.population, kind="population")
    right = {
        "least": LEAST_NEIGHBOURS < terms.least <= devices,
        "neighbours": terms.neighbours == 0 or (terms.neighbours >= LEAST_NEIGHBOURS and terms.neighbours % 2 == 0),
        "threshold": 0.5 <= terms.threshold < 1.0,
        "reach": 0.0 < terms.reach < 1e6,
        "stage_timeout_s": terms.stage_timeout_s > 0,
        "epsilon": noise is None or 0.0 < noise.epsilon < math.inf,
        "delta": noise is None or 0.0 < noise.delta < 1.0 / devices,
        "clip": noise is None or 0.0 < noise.clip < 1e6,
        "multiplier": noise is None or 0.0 < noise.multiplier < 1e6,
    }
    for field, fine in right.items():
        if not fine:
            raise ContractError(
                f"privacy: {field} is out of range for {devices} devices",
                hint="least from 3, neighbours even, threshold from 0.5 to below 1, delta below 1/devices.",
            )
    return terms


def exclude_robust(terms: Private | None, rule: str) -> None:
    """Refuse a robust rule in a private run.

    Raises:
        RefusedError: both are asked for.
    """
    if terms is not None and rule:
        raise RefusedError(
            f"{rule[:80]} and private exclude each other: a robust rule compares the updates of single devices,"
            " and secure aggregation keeps the coordinator from seeing any",
            hint="Drop `privacy`, or take the mean; a clip bound limits what one device can do to it.",
        )


def population_of(terms: Private | None, *, task: str) -> str:
    """Whose budget a run with these terms draws on; empty if it discloses nothing that is counted."""
    return "" if terms is None or terms.noise is None else terms.noise.population or task
