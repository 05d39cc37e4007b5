"""Who shares secrets with whom in a round: a function of the run's seed, the round and the cohort."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence


def neighbours(cohort: Sequence[str], degree: int, *, seed: int, round_: int) -> dict[str, list[str]]:
    """Map each device to its neighbours, sorted; the relation is symmetric.

    Devices stand in a circle in random order, and each knows `degree` / 2 on either side (a Harary graph over a
    random permutation, as in Bell et al., CCS 2020, section 3.2). A degree of 0, or one that nearly everybody has,
    makes all of them neighbours.
    """
    if degree == 0 or degree >= len(cohort) - 1:
        return {device: sorted(set(cohort) - {device}) for device in cohort}
    circle = sorted(cohort, key=lambda device: hashlib.sha256(f"circle\0{seed}\0{round_}\0{device}".encode()).digest())
    size = len(circle)
    steps = [step for half in range(1, degree // 2 + 1) for step in (half, -half)]
    return {device: sorted(circle[(place + step) % size] for step in steps) for place, device in enumerate(circle)}
