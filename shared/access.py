"""Who operates a coordinator, as its HTTP API says it: callers, keys, and votes on releases."""

from __future__ import annotations

import msgspec

REASON_HEADER = "Hinterland-Reason"
"""Why, for the audit log: percent-encoded UTF-8, on any request that changes something."""


class Whoami(msgspec.Struct, frozen=True, kw_only=True):
    """Whom a credential names."""

    name: str
    tenant: str
    roles: list[str]
    fleets: list[str]
    """Where the roles count; `*` for every fleet."""


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """One API key, without the key."""

    name: str
    roles: list[str]
    fleets: list[str]
    created_at: float
    expires_at: float | None = None
    used_at: float | None = None
    """When it was last used, to the minute."""

    revoked_at: float | None = None


class KeyRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Ask for a key."""

    name: str
    roles: list[str]
    """`viewer`, `operator`, `release-manager` or `admin`; each includes the ones before it."""

    fleets: list[str] = msgspec.field(default_factory=lambda: ["*"])
    ttl_s: float | None = None
    """Seconds until it expires; never when left out."""

    reason: str = ""


class KeyIssued(msgspec.Struct, frozen=True, kw_only=True):
    """A key, shown once."""

    key: str
    expires_at: float | None = None


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Approve or reject a release, a rollout or a privacy budget."""

    digest: str
    """`Release.content` of what was looked at; another release of the same name gains nothing from it."""

    reason: str = ""


class Vote(msgspec.Struct, frozen=True, kw_only=True):
    """What one person said of a release."""

    by: str
    approved: bool
    reason: str
    at: float
