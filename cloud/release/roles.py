"""Who signs what, with how many keys, for how long: the role table."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from shared.clock import utc
from shared.trust.names import RELEASES

DAY = 86_400.0
"""Seconds."""

ROOT = "root"
TARGETS = "targets"
SNAPSHOT = "snapshot"
TIMESTAMP = "timestamp"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """How a role signs."""

    keys: tuple[str, ...]
    """Names in the key ring."""

    lifetime: float
    """Seconds from signing to expiry."""

    threshold: int = 1
    """How many of the keys must sign."""

    offline: bool = False
    """Kept away from the coordinator's machine between uses."""


_RULES = {
    ROOT: Rule(keys=("root-1", "root-2", "root-3"), threshold=2, lifetime=365 * DAY, offline=True),
    TARGETS: Rule(keys=("targets-1", "targets-2"), lifetime=180 * DAY, offline=True),
    RELEASES: Rule(keys=(RELEASES,), lifetime=30 * DAY),
    SNAPSHOT: Rule(keys=(SNAPSHOT,), lifetime=7 * DAY),
    TIMESTAMP: Rule(keys=(TIMESTAMP,), lifetime=DAY),
}


def rule(role: str) -> Rule:
    """The rule of `role`; every fleet's role has a key of its own."""
    return _RULES.get(role) or Rule(keys=(role,), lifetime=7 * DAY)


def expiry(role: str, *, at: float) -> datetime:
    """When metadata of `role` that is signed at `at` (Unix seconds) expires."""
    return utc(at + rule(role).lifetime)


def due(role: str, expires: datetime, *, at: float) -> bool:
    """Whether `role` should be signed again: half of its life is over, so an outage of that length harms nobody."""
    return expires.timestamp() - at < rule(role).lifetime / 2
