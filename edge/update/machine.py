"""The update of one model as one table: every step a release can take on a device, and no other."""

from __future__ import annotations

from enum import StrEnum

from shared.errors import FaultError
from shared.messages import Stage


class Event(StrEnum):
    """What happened to a release."""

    ADMITTED = "admitted"
    """Signed, for this hardware, not older than what ran here."""

    PROVEN = "proven"
    """All bytes are on disk and have the signed digest."""

    STAGED = "staged"
    """Sealed in the idle slot."""

    TRIED = "tried"
    """About to be loaded beside the release that serves."""

    COMMITTED = "committed"
    """The slot pointer names it: from here on a restart serves it."""

    DISTRUSTED = "distrusted"
    """A proof failed."""

    BROKE = "broke"
    """The device or the link could not do its part."""

    REBOOTED = "rebooted"
    """The agent starts and finds this step in its journal."""


_S, _E = Stage, Event

TABLE: dict[tuple[Stage, Event], Stage] = {
    (_S.OFFERED, _E.ADMITTED): _S.DOWNLOADING,
    (_S.OFFERED, _E.DISTRUSTED): _S.REFUSED,
    (_S.OFFERED, _E.BROKE): _S.FAILED,
    (_S.OFFERED, _E.REBOOTED): _S.OFFERED,
    (_S.DOWNLOADING, _E.PROVEN): _S.VERIFIED,
    (_S.DOWNLOADING, _E.DISTRUSTED): _S.REFUSED,
    (_S.DOWNLOADING, _E.BROKE): _S.FAILED,
    (_S.DOWNLOADING, _E.REBOOTED): _S.OFFERED,  # admitted again: facts and metadata may have changed meanwhile
    (_S.VERIFIED, _E.STAGED): _S.STAGED,
    (_S.VERIFIED, _E.DISTRUSTED): _S.REFUSED,
    (_S.VERIFIED, _E.BROKE): _S.FAILED,
    (_S.VERIFIED, _E.REBOOTED): _S.OFFERED,
    (_S.STAGED, _E.TRIED): _S.TRIAL,
    (_S.STAGED, _E.DISTRUSTED): _S.REFUSED,
    (_S.STAGED, _E.BROKE): _S.FAILED,
    (_S.STAGED, _E.REBOOTED): _S.OFFERED,
    (_S.TRIAL, _E.COMMITTED): _S.ACTIVE,
    (_S.TRIAL, _E.DISTRUSTED): _S.ROLLED_BACK,
    (_S.TRIAL, _E.BROKE): _S.ROLLED_BACK,
    (_S.TRIAL, _E.REBOOTED): _S.ROLLED_BACK,  # a crash is a failed trial
}

TERMINAL = frozenset({Stage.ACTIVE, Stage.REFUSED, Stage.FAILED, Stage.ROLLED_BACK})
"""From here only a new attempt leads on, and it starts at OFFERED."""


def step(stage: Stage, event: Event) -> Stage:
    """The stage after `event`.

    Raises:
        FaultError: the table has no such step: a defect of the agent, which must not act on it.
    """
    try:
        return TABLE[stage, event]
    except KeyError:
        raise FaultError(f"an update that is {stage} cannot have {event}") from None
