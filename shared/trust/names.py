"""Roles and paths of the repository that coordinator, agents and auditors agree on.

root ──► targets ──► releases      releases/<release>/manifest.json, releases/<release>/<variant>
  │              └─► fleet-<id>    fleets/<id>/desired.json
  ├────► snapshot
  └────► timestamp                 carries the signed issue time
"""

from __future__ import annotations

RELEASES = "releases"
"""The role that signs every release."""

RELEASE_PATHS = f"{RELEASES}/*/*"
"""Paths that the releases role may sign."""

ISSUED = "x-issued"
"""Signed field of the timestamp: Unix seconds, whole (canonical JSON knows no fractions), when it was signed."""

TENANT = "x-tenant"
"""Signed field of the root: whose repository this is."""

MODEL_KEYS = "x-model-keys"
"""Signed field of the root: key id → PEM of the P-256 keys that sign models; once there, no model goes without."""

KEY_NAME = "x-name"
"""Signed field beside a public key: under which name the coordinator's key ring has the private part."""

MANIFEST = "manifest.json"


def fleet_role(fleet: str) -> str:
    """The role that signs what one fleet should run."""
    return f"fleet-{fleet}"


def fleet_paths(fleet: str) -> str:
    """Paths that a fleet's role may sign."""
    return f"fleets/{fleet}/*"


def manifest_path(release: str) -> str:
    """Target path of a release's manifest."""
    return f"releases/{release}/{MANIFEST}"


def variant_path(release: str, variant: str) -> str:
    """Target path of a variant; its bytes travel as chunks and are in no repository."""
    return f"releases/{release}/{variant}"


def desired_path(fleet: str) -> str:
    """Target path of a fleet's desired state."""
    return f"fleets/{fleet}/desired.json"
