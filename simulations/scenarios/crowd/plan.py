"""Names, places and the two rollouts of the crowd."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

FLEET = "meters"
PLACES = 100
"""Devices of one site."""

AT_ONCE = 10
"""Devices of one site that may be unsettled at once."""

FAILING, TOLERATED = 0.20, 0.05
"""Share of the third wave on which the second release breaks, and share that a wave tolerates."""

THIRD = 2
"""Index of the wave in which devices fail."""

SOAK_S, DEADLINE_S = 2.0, 600.0


def sites_of(devices: int) -> dict[str, str]:
    """Device → site; the same number everywhere, and neighbours by name in different places."""
    sites = max(1, devices // PLACES)
    return {f"meter-{number:05d}": f"site-{number % sites:03d}" for number in range(devices)}


def document(release: str, *, compared: bool) -> dict[str, Any]:
    """What an operator would apply."""
    made: dict[str, Any] = {
        "kind": "rollout",
        "release": release,
        "fleet": FLEET,
        "waves": [{"percent": 1}, {"percent": 10}, {"percent": 50}, {"percent": 100}],
        "soak_s": SOAK_S,
        "deadline_s": DEADLINE_S,
        "budget": {"devices": AT_ONCE},
        "abort": {"failed": TOLERATED},
    }
    if compared:
        made["shadow"] = {"mode": "shadow", "least": 500, "within_s": DEADLINE_S}
        made["gates"] = {"accuracy": {"margin": 0.03}, "failures": 0.02}
    return made


def failing(waves: Sequence[Sequence[str]], *, seed: int) -> frozenset[str]:
    """Devices of the third wave on which the release breaks."""
    third = sorted(waves[THIRD])
    return frozenset(Random(seed).sample(third, round(FAILING * len(third))))  # noqa: S311  a simulation
