"""Which certificate follows which, and what two holders of one key cannot help showing.

A device holds one certificate at a time and shows it to be given the next. So the certificates that are shown form a
chain, in which a link may be shown again only until its successor was shown: an answer can be lost, but whoever has
shown the successor holds it. Pure.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

RETURNS = 3
"""How often an epoch may speak up with something new after a younger one has spoken. A device never goes back to an
outbox that it has lost; what may still come of it is the one batch that was under way, and a second copy of that batch
with more in it, if coordinators share the load and one of them is slow."""

TAKEOVERS = 2
"""Sessions of one agent that another holder of its identity ended. One may be an agent that hung and was replaced."""


class Certificate(msgspec.Struct, frozen=True, kw_only=True):
    """One that a device was given."""

    serial: str
    """Decimal."""

    device: str
    parent: str = ""
    """Serial of the one that vouched for it; empty at enrolment."""

    issued_at: float
    expires_at: float
    presented_at: float | None = None
    """When it first vouched for the next one."""

    superseded_at: float | None = None
    """Since then it is on the revocation list."""

    pem: str = ""


class Step(StrEnum):
    """What to answer whoever shows a certificate."""

    ISSUE = "issue"
    REPEAT = "repeat"
    """Give the successor again: the first answer was lost."""

    REFUSE = "refuse"
    """From before the device's present enrolment."""

    FORKED = "forked"
    """Two hold the key."""


class Evidence(StrEnum):
    """What shows that one identity is in two places."""

    RECORDS = "two different records carry one number"
    EPOCHS = "two outboxes take turns"
    SESSIONS = "sessions at the broker push each other out"
    CERTIFICATES = "a certificate was shown again after its successor"


def next_step(shown: Certificate | None, newest: Certificate, *, enrolled_at: float, same_key: bool, at: float) -> Step:
    """Decide what follows the certificate that is shown.

    Args:
        shown: as the coordinator has it on record; None when it has not.
        newest: of the same device.
        enrolled_at: of the device, Unix seconds.
        same_key: whether the key to be certified is the one that `newest` certifies.
        at: Unix seconds.
    """
    if shown is None or shown.device != newest.device or shown.issued_at < enrolled_at:
        return Step.REFUSE
    if shown.serial == newest.serial:
        return Step.ISSUE
    if newest.parent != shown.serial or newest.presented_at is not None or not same_key:
        return Step.FORKED
    fresh = bool(newest.pem) and newest.expires_at - at > (newest.expires_at - newest.issued_at) / 2
    return Step.REPEAT if fresh else Step.ISSUE


class Epoch(msgspec.Struct, frozen=True, kw_only=True):
    """One outbox of a device, as one channel of it was heard."""

    turn: int
    """Grows whenever another epoch speaks on the channel; the highest is whose turn it is."""

    returned: int = 0
    """How often it spoke up again after another one had."""


def hear(epoch: Epoch | None, *, turn: int) -> Epoch:
    """The epoch after it said something new.

    Args:
        epoch: as it was; None when it is heard for the first time.
        turn: the highest on the channel, 0 for none.
    """
    if epoch is None:
        return Epoch(turn=turn + 1)
    if epoch.turn == turn:
        return epoch
    return Epoch(turn=turn + 1, returned=epoch.returned + 1)
