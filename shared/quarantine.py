"""What the API says and hears of devices whose updates were refused; part of `shared.api`."""

from __future__ import annotations

import msgspec


class Strike(msgspec.Struct, frozen=True, kw_only=True):
    """A round in which the gate refused what a device sent."""

    run: str
    round: int
    at: float
    check: str
    """What the gate looked at: `form`, `finite`, `distance`, `examples`, `loss` or `score`."""

    reason: str
    measured: str = ""
    """What it found there."""


class Suspect(msgspec.Struct, frozen=True, kw_only=True):
    """A device that something is held against."""

    device: str
    fleet: str
    quarantined: bool
    """Whether it is left out of runs until it is released."""

    strikes: list[Strike]
    since: float | None = None
    """When it was quarantined."""


class Released(msgspec.Struct, frozen=True, kw_only=True):
    """Let a device back in."""

    reason: str
    """What was found; for the audit log."""
