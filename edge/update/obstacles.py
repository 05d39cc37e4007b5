"""Does this device have what a variant takes, and is now the time? Pure judgement, before byte 1."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from edge.facts.port import MAINS, Power
from shared.bundle import Runtime, Variant
from shared.clock import utc

_VERSION = re.compile(
    r"v?(\d{1,9}(?:\.\d{1,9}){0,7})(?!\.?\d)[-_.]?(a|b|c|rc|alpha|beta|pre|preview|dev)?", re.IGNORECASE | re.ASCII
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What this device's owner has set; what it is."""

    hardware: frozenset[str]
    runtimes: frozenset[Runtime]
    metered: bool = False
    """Whether the link costs by the byte."""

    over_metered: bool = False
    """Whether updates may use such a link."""

    least_charge: float = 20.0
    """Percent: on battery, updates wait below it."""

    hours: tuple[str, ...] = ()
    """When updates may start, `HH:MM-HH:MM` in UTC, also over midnight; empty for always."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Readings:
    """What the machine said just now; None is what it does not say, and stops nothing."""

    at: float
    """Unix seconds."""

    memory_mib: int | None = None
    disk_bytes: int | None = None
    present_bytes: int = 0
    """Of the variant, from an attempt before."""

    power: Power = MAINS
    version: str | None = None
    """Of the runtime that the variant is for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Obstacle:
    """Why not."""

    reason: str
    passing: bool
    """Whether it may be gone later; what never passes is a refusal."""


def judge(variant: Variant, readings: Readings, policy: Policy) -> Obstacle | None:
    """The first obstacle; what never passes comes first, so that nobody waits for it."""
    if reason := _never(variant, readings, policy):
        return Obstacle(reason=reason, passing=False)
    if reason := _not_now(variant, readings, policy):
        return Obstacle(reason=reason, passing=True)
    return None


def _never(variant: Variant, readings: Readings, policy: Policy) -> str:
    if variant.runtime not in policy.runtimes:
        return f"{variant.name} is for {variant.runtime}, which this device cannot execute"
    if not policy.hardware & set(variant.hardware):
        return f"{variant.name} is for {', '.join(variant.hardware)[:80]}, which this device is not"
    oldest = variant.needs.runtime_version
    if oldest and not at_least(readings.version or "", oldest):
        return f"{variant.name} needs {variant.runtime} {oldest[:40]}, this device has {readings.version or 'none'}"
    return ""


def _not_now(variant: Variant, readings: Readings, policy: Policy) -> str:
    disk = 2 * variant.size - readings.present_bytes  # the download, and room for what follows it
    if readings.disk_bytes is not None and readings.disk_bytes < disk:
        return f"{variant.name} needs {_mib(disk)} MiB of disk, {readings.disk_bytes >> 20} MiB are free"
    memory = variant.needs.memory_mib
    if readings.memory_mib is not None and readings.memory_mib < memory:
        return f"{variant.name} needs {memory} MiB of memory, {readings.memory_mib} MiB are free"
    charge = readings.power.charge
    if readings.power.on_battery and charge is not None and charge < policy.least_charge:
        return f"on battery with {charge:.0f} %; updates wait for {policy.least_charge:.0f} %, or for mains"
    if policy.metered and not policy.over_metered:
        return "the link is metered, and update.over_metered is not set"
    if policy.hours and not within(policy.hours, at=readings.at):
        return f"updates start between {' and '.join(policy.hours)} UTC"
    return ""


def at_least(version: str, oldest: str) -> bool:
    """Whether `version` is `oldest` or newer; False where either cannot be read.

    Numbers are compared as numbers, missing ones as 0, and a pre-release comes before its release (as in PEP 440, of
    which runtimes use this much); what follows the numbers otherwise names a build and not a version.
    """
    have, want = _parsed(version), _parsed(oldest)
    return have is not None and want is not None and have >= want


def within(hours: Collection[str], *, at: float) -> bool:
    """Whether `at` (Unix seconds) lies in one of `HH:MM-HH:MM`, UTC; the end is not part of it."""
    now = f"{utc(at):%H:%M}"
    spans = (span.split("-") for span in hours)
    return any(first <= now < last if first < last else now >= first or now < last for first, last in spans)


def _parsed(text: str) -> tuple[tuple[int, ...], bool] | None:
    found = _VERSION.match(text.strip())
    if found is None:
        return None
    numbers = [int(number) for number in found[1].split(".")]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers), found[2] is None


def _mib(size: int) -> int:
    return -(-size >> 20)
