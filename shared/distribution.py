"""How fast, how urgently and when a fleet is sent model bytes, as the HTTP API says it."""

from __future__ import annotations

import msgspec

MOST_RATE = 1 << 20
"""MiB a second; more is a slip of the pen."""

LEAST_RATE = 1 / 64
"""MiB a second, 16 KiB: below, devices would take the trickle for a broken link and give up."""

MOST_PRIORITY = 100
MOST_WINDOWS = 50


class TimeWindow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Times of the week; one that ends before it begins lasts over midnight."""

    days: list[str] = []
    """`mon` to `sun`, by the day on which it begins; every day when empty."""

    start: str = "00:00"
    end: str = "24:00"
    zone: str = "UTC"
    """Of the IANA time zone database, e.g. `Europe/Berlin`."""


class Distribution(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one fleet is sent model bytes."""

    rate_mib_s: float = 0.0
    """Most that the coordinator sends for it; 0 for as much as the link takes."""

    priority: int = 1
    """Chunks for each one of a fleet with priority 1, while both wait: 1 to 100."""

    windows: list[TimeWindow] = []
    """When it is sent anything; always when empty."""


class Fleet(msgspec.Struct, frozen=True, kw_only=True):
    """One fleet."""

    id: str
    devices: int
    distribution: Distribution
    updated_at: float = 0.0
    """When somebody last said so; 0 for never."""
