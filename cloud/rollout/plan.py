"""Who comes when: the waves of a rollout, canaries first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import msgspec

from cloud.rollout.spec import Spec, WaveSize
from shared.errors import RefusedError


class Wave(msgspec.Struct, frozen=True, kw_only=True):
    """Devices that get a release at the same time."""

    devices: tuple[str, ...]
    soak_s: float
    """Seconds that the whole wave must have served before the next one opens."""

    deadline_s: float
    """Seconds within which a device must have settled once it was asked; who has not counts as failed."""

    tolerated: int = 0
    """Devices that may fail without halting the rollout."""


def plan(devices: Sequence[str], spec: Spec) -> tuple[Wave, ...]:
    """Cut devices into waves; every device is in exactly one.

    Raises:
        RefusedError: a canary is none of `devices`.
    """
    names = sorted(set(devices))
    canaries = tuple(sorted(set(spec.canaries)))
    if not (canaries or spec.waves or spec.growth):
        canaries = tuple(names[:1])
    _check(names, canaries)
    rest = [name for name in names if name not in set(canaries)]
    groups = [group for group in (canaries, *_groups(rest, spec)) if group]
    return tuple(_wave(group, spec, first=index == 0) for index, group in enumerate(groups))


def join(waves: Sequence[Wave], newcomers: Sequence[str], spec: Spec, *, opened: int) -> tuple[Wave, ...]:
    """Waves with those who came late: they obey the same stages, so they come with the last.

    Args:
        waves: as planned.
        newcomers: devices that are in none of them.
        spec: of the rollout.
        opened: index of the wave opened last, -1 for none.
    """
    if not newcomers:
        return tuple(waves)
    names = sorted(newcomers)
    if waves and opened < len(waves) - 1:
        *before, last = waves
        return (*before, _wave((*last.devices, *names), spec, first=len(waves) == 1))
    return (*waves, _wave(tuple(names), spec, first=not waves))


def replan(waves: Sequence[Wave], devices: Sequence[str], spec: Spec, *, opened: int) -> tuple[Wave, ...]:
    """Waves after a change of mind: those that have opened stay, everybody else is planned anew."""
    kept = tuple(waves[: opened + 1])
    taken = {device for wave in kept for device in wave.devices}
    rest = [device for device in devices if device not in taken]
    if not kept:
        return plan(rest, spec)
    groups = [group for group in _groups(sorted(set(rest)), spec) if group]
    return (*kept, *(_wave(group, spec, first=False) for group in groups))


def _check(names: Sequence[str], canaries: Sequence[str]) -> None:
    strangers = sorted(set(canaries) - set(names))
    if strangers:
        raise RefusedError(
            f"canary {strangers[0]!r} is no enrolled device that the rollout is for",
            hint="Name devices that `hinterland devices` lists, or leave canaries empty.",
        )


def _groups(rest: Sequence[str], spec: Spec) -> list[tuple[str, ...]]:
    cuts = [0, *_cuts(len(rest), spec), len(rest)]
    return [tuple(rest[start:end]) for start, end in pairwise(cuts) if start < end]


def _cuts(count: int, spec: Spec) -> Iterator[int]:
    """Where one wave ends and the next begins: growing numbers up to `count`."""
    reached = 0
    for wanted in _sizes(count, spec):
        reached = min(count, max(reached, wanted))
        yield reached


def _sizes(count: int, spec: Spec) -> Iterator[int]:
    if spec.growth is None:
        yield from (_size(size, count) for size in spec.waves)
        return
    size, total = float(spec.growth.first), 0
    while total < count:
        total += max(1, int(size))
        yield total
        size *= spec.growth.factor


def _size(size: WaveSize, count: int) -> int:
    return size.count or round(size.percent / 100 * count)


def _wave(group: tuple[str, ...], spec: Spec, *, first: bool) -> Wave:
    tolerated = 0 if first else int(spec.abort.failed * len(group))
    return Wave(devices=group, soak_s=spec.soak_s, deadline_s=spec.deadline_s, tolerated=tolerated)
