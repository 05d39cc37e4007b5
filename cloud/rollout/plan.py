"""Who comes when: the waves of a rollout, canaries first."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import msgspec

from shared.errors import RefusedError


class Wave(msgspec.Struct, frozen=True, kw_only=True):
    """Devices that get a release at the same time."""

    devices: tuple[str, ...]
    soak_s: float
    """Seconds that the whole wave must have served before the next one opens."""

    deadline_s: float
    """Seconds from opening within which every device must have settled; who has not counts as failed."""

    tolerated: int = 0
    """Devices that may fail without halting the rollout."""


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """How careful a rollout is."""

    canaries: tuple[str, ...] = ()
    """Devices of the first wave; the first device by name when empty."""

    waves: tuple[float, ...] = (1.0,)
    """Shares of the remaining devices, cumulative and rising to 1; one wave each."""

    soak_s: float = 60.0
    deadline_s: float = 3600.0
    tolerated: float = 0.0
    """Share of a later wave that may fail; the canary wave never tolerates a failure."""


def plan(devices: Sequence[str], pace: Pace) -> tuple[Wave, ...]:
    """Cut a fleet into waves; every device is in exactly one.

    Raises:
        RefusedError: a canary is no device of the fleet, or the shares do not rise to 1.
    """
    names = sorted(set(devices))
    canaries = tuple(sorted(set(pace.canaries))) or tuple(names[:1])
    _check(names, canaries, pace)
    rest = [name for name in names if name not in canaries]
    groups = [canaries, *_groups(rest, pace.waves)]
    return tuple(_wave(group, pace, canary=index == 0) for index, group in enumerate(groups) if group)


def _check(names: Sequence[str], canaries: Sequence[str], pace: Pace) -> None:
    strangers = sorted(set(canaries) - set(names))
    if strangers:
        raise RefusedError(
            f"canary {strangers[0]!r} is no enrolled device of this fleet",
            hint="Name devices that `hinterland devices` lists, or leave canaries empty.",
        )
    if list(pace.waves) != sorted(pace.waves) or not pace.waves or pace.waves[-1] != 1.0 or pace.waves[0] <= 0.0:
        raise RefusedError(
            f"waves {list(pace.waves)} do not rise to 1", hint="Give cumulative shares, for example [0.25, 1.0]."
        )


def _groups(rest: Sequence[str], shares: Sequence[float]) -> list[tuple[str, ...]]:
    cuts = [0, *(round(share * len(rest)) for share in shares)]
    return [tuple(rest[start:end]) for start, end in pairwise(cuts)]


def _wave(group: tuple[str, ...], pace: Pace, *, canary: bool) -> Wave:
    tolerated = 0 if canary else int(pace.tolerated * len(group))
    return Wave(devices=group, soak_s=pace.soak_s, deadline_s=pace.deadline_s, tolerated=tolerated)
