"""Whether enough people have said yes to a release or a rollout; pure."""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum

import msgspec

MOST = 2
"""Persons that a release can be made to wait for."""


class Vote(msgspec.Struct, frozen=True, kw_only=True):
    """What one person said of one manifest, or of one rollout's document."""

    subject: str
    """Id of the release or rollout."""

    principal: str
    """The actor's name in the audit log."""

    digest: str
    """Of what was looked at, a manifest without its model signatures; a vote for other bytes counts for nothing."""

    approved: bool
    reason: str = ""
    at: float


class Standing(StrEnum):
    """Where a release is with its approvers."""

    APPROVED = "approved"
    WAITING = "waiting"
    REJECTED = "rejected"


def standing(votes: Collection[Vote], *, digest: str, needed: int, authors: Collection[str]) -> Standing:
    """Count what was said.

    Args:
        votes: at most one a person.
        digest: of the manifest that would be signed, or of the document that would be followed.
        needed: persons that must approve; 0 for none.
        authors: who ordered it, or its run; where two persons must approve, it is two others.
    """
    if not needed:
        return Standing.APPROVED
    valid = [vote for vote in votes if vote.digest == digest]
    if any(not vote.approved for vote in valid):
        return Standing.REJECTED
    persons = {vote.principal for vote in valid if needed < MOST or vote.principal not in authors}
    return Standing.APPROVED if len(persons) >= needed else Standing.WAITING
