"""Who is asking, and what kinds of people there are."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from shared.errors import RefusedError

EVERY_FLEET = "*"
"""Stands in a principal's fleets for all of its tenant, present and future."""


class Role(StrEnum):
    """What somebody is trusted with; each includes the ones before it."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    RELEASE_MANAGER = "release-manager"
    ADMIN = "admin"


class Action(StrEnum):
    """What a route does; `policy.cedar` says which role may."""

    SEE = "see"
    """Read what belongs to one fleet: devices, drift, telemetry, runs, rollouts."""

    SEE_SHARED = "see-shared"
    """Read what a tenant's fleets share: model lines and releases."""

    SEE_AUDIT = "see-audit"
    ENROL = "enrol"
    REVOKE = "revoke"
    TRAIN = "train"
    ROLL_OUT = "roll-out"
    CHANGE_LINE = "change-line"
    IMPORT_RELEASE = "import-release"
    APPROVE_RELEASE = "approve-release"
    MANAGE_KEYS = "manage-keys"


class Principal(msgspec.Struct, frozen=True):
    """An authenticated caller."""

    name: str
    tenant: str = ""
    roles: tuple[str, ...] = ()
    fleets: tuple[str, ...] = (EVERY_FLEET,)
    """Where the roles count; `*` for every fleet of the tenant."""

    @property
    def actor(self) -> str:
        """The name in the audit log."""
        return f"operator:{self.name}"

    @property
    def everywhere(self) -> bool:
        """Whether no fleet is out of reach."""
        return EVERY_FLEET in self.fleets


class UnauthenticatedError(RefusedError):
    """No credential, or none that we know."""


class ForbiddenError(RefusedError):
    """We know who asks, and the policy says no."""


class TooManyError(RefusedError):
    """Asked too often."""

    retry_after: float = 1.0
    """Seconds until the next try can succeed."""
