"""The chain of the audit log: each row's digest covers its content and the digest of the row before.

Whoever reads the log can verify it without believing the coordinator.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from shared.ids import Digest, sha256

GENESIS = Digest("0" * 64)
"""What the first row continues."""


class AuditRow(msgspec.Struct, frozen=True, kw_only=True):
    """One action."""

    number: int
    """From 1, without gaps."""

    at: float
    actor: str
    """`operator:<key name>`, `device:<id>` or `coordinator`."""

    action: str
    subject: str
    reason: str = ""
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    previous: str
    digest: str = ""


def seal(row: AuditRow) -> AuditRow:
    """`row` with its digest: SHA-256 over canonical JSON of every other field."""
    return msgspec.structs.replace(row, digest=_digest(row))


def verify(rows: Iterable[AuditRow]) -> str | None:
    """What is wrong with a log read in order, or None.

    A truncated end cannot be seen from inside; whoever kept the last digest elsewhere can compare it.
    """
    expected, previous = 1, GENESIS
    for row in rows:
        if row.number != expected:
            return f"row {expected} is missing"
        if row.previous != previous:
            return f"row {row.number} does not continue row {row.number - 1}"
        if row.digest != _digest(row):
            return f"row {row.number} was edited"
        expected, previous = expected + 1, Digest(row.digest)
    return None


def _digest(row: AuditRow) -> Digest:
    return sha256(msgspec.json.encode(msgspec.structs.replace(row, digest=""), order="sorted"))
