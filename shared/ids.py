"""Names of devices, fleets, tenants, releases and bytes, and the one place that checks them.

Identifiers travel in MQTT topics, X.509 common names, TUF paths and file names, so the alphabet is
the intersection of what all four take without escaping.
"""

from __future__ import annotations

import hashlib
import re
from typing import NewType

from shared.errors import ContractError

DeviceId = NewType("DeviceId", str)
FleetId = NewType("FleetId", str)
TenantId = NewType("TenantId", str)
ModelName = NewType("ModelName", str)
"""A line of models that replace each other, for example `activity`."""

ReleaseId = NewType("ReleaseId", str)
"""`<model>-<counter>`, for example `activity-2`."""

RunId = NewType("RunId", str)
Digest = NewType("Digest", str)
"""Lower-case hexadecimal SHA-256, 64 characters."""

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_DIGEST = re.compile(r"[0-9a-f]{64}")

RESERVED = frozenset({"coordinator", "superlink", "broker", "operator", "root"})
"""Common names that belong to our own servers and operators; no device may carry one."""


REPLICA = "coordinator-"
"""Begins the common names of coordinators that share the load."""


def is_reserved(text: str) -> bool:
    """Whether a common name belongs to our own side."""
    return text in RESERVED or text.startswith(REPLICA)


def check_name(text: str, *, kind: str = "name") -> str:
    """Return `text` if it is 1 to 63 of `a-z 0-9 -`, not starting or ending with `-`.

    Raises:
        ContractError: it is not.
    """
    if not _NAME.fullmatch(text):
        raise ContractError(
            f"{text[:80]!r} is no {kind}",
            hint="Use 1 to 63 lower-case letters, digits and inner hyphens.",
        )
    return text


def device_id(text: str) -> DeviceId:
    """Check a device id; the names of our own servers are refused."""
    if is_reserved(text):
        raise ContractError(f"{text!r} is reserved", hint="Choose another device id.")
    return DeviceId(check_name(text, kind="device id"))


def fleet_id(text: str) -> FleetId:
    """Check a fleet id."""
    return FleetId(check_name(text, kind="fleet id"))


def tenant_id(text: str) -> TenantId:
    """Check a tenant id."""
    return TenantId(check_name(text, kind="tenant id"))


def release_id(model: str, counter: int) -> ReleaseId:
    """Name release `counter` of a model line."""
    return ReleaseId(f"{check_name(model, kind='model name')}-{counter}")


def sha256(data: bytes | memoryview) -> Digest:
    """Digest of bytes held in memory."""
    return Digest(hashlib.sha256(data).hexdigest())


def check_digest(text: str) -> Digest:
    """Return `text` if it is a lower-case hexadecimal SHA-256.

    Raises:
        ContractError: it is not.
    """
    if not _DIGEST.fullmatch(text):
        raise ContractError(f"{text[:80]!r} is no SHA-256 digest")
    return Digest(text)
