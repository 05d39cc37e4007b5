"""The update of one model as one table: every step a release can take on a device, and no other."""

from __future__ import annotations

from enum import StrEnum

from shared.errors import FaultError
from shared.messages import Stage


class Event(StrEnum):
    """What happened to a release."""

    ADMITTED = "admitted"
    """Signed, for this hardware, not older than what ran here."""

    HELD = "held"
    """Something that may pass keeps it from starting: a full disk, a metered link, heat. Looked at again later."""

    PROVEN = "proven"
    """All bytes are on disk and have the signed digest."""

    STAGED = "staged"
    """Sealed in the idle slot."""

    SHADOWED = "shadowed"
    """About to be loaded beside the release that serves, to be shown the same inputs."""

    TRIED = "tried"
    """About to be loaded in place of the release that serves."""

    COMMITTED = "committed"
    """The slot pointer names it: from here on a restart serves it."""

    WITHDRAWN = "withdrawn"
    """The signers want it no more, or have said nothing for too long."""

    RELAPSED = "relapsed"
    """It served, and failed in service or at a start."""

    STRANDED = "stranded"
    """It failed in service, and no other slot can serve: safe mode."""

    DISTRUSTED = "distrusted"
    """A proof failed."""

    BROKE = "broke"
    """The device, the link or the model itself could not do its part."""

    REBOOTED = "rebooted"
    """The agent starts and finds this step in its journal, or had to drop it for a rollback in service."""


_S, _E = Stage, Event

TABLE: dict[tuple[Stage, Event], Stage] = {
    (_S.OFFERED, _E.ADMITTED): _S.DOWNLOADING,
    (_S.OFFERED, _E.HELD): _S.OFFERED,
    (_S.OFFERED, _E.WITHDRAWN): _S.WITHDRAWN,
    (_S.OFFERED, _E.DISTRUSTED): _S.REFUSED,
    (_S.OFFERED, _E.BROKE): _S.FAILED,
    (_S.OFFERED, _E.REBOOTED): _S.OFFERED,
    (_S.DOWNLOADING, _E.PROVEN): _S.VERIFIED,
    (_S.DOWNLOADING, _E.WITHDRAWN): _S.WITHDRAWN,  # what was fetched stays on disk until another variant comes
    (_S.DOWNLOADING, _E.DISTRUSTED): _S.REFUSED,
    (_S.DOWNLOADING, _E.BROKE): _S.FAILED,
    (_S.DOWNLOADING, _E.REBOOTED): _S.OFFERED,  # admitted again: facts and metadata may have changed meanwhile
    (_S.VERIFIED, _E.STAGED): _S.STAGED,
    (_S.VERIFIED, _E.WITHDRAWN): _S.WITHDRAWN,
    (_S.VERIFIED, _E.DISTRUSTED): _S.REFUSED,
    (_S.VERIFIED, _E.BROKE): _S.FAILED,
    (_S.VERIFIED, _E.REBOOTED): _S.OFFERED,
    (_S.STAGED, _E.SHADOWED): _S.SHADOW,
    (_S.STAGED, _E.TRIED): _S.TRIAL,
    (_S.STAGED, _E.WITHDRAWN): _S.WITHDRAWN,
    (_S.STAGED, _E.DISTRUSTED): _S.REFUSED,
    (_S.STAGED, _E.BROKE): _S.FAILED,
    (_S.STAGED, _E.REBOOTED): _S.OFFERED,
    (_S.SHADOW, _E.TRIED): _S.TRIAL,  # promoted: it lies in the idle slot already
    (_S.SHADOW, _E.WITHDRAWN): _S.WITHDRAWN,
    (_S.SHADOW, _E.DISTRUSTED): _S.ROLLED_BACK,
    (_S.SHADOW, _E.BROKE): _S.ROLLED_BACK,
    (_S.SHADOW, _E.REBOOTED): _S.SHADOW,  # power cuts end no comparison; too many starts in a row do, as BROKE
    (_S.TRIAL, _E.COMMITTED): _S.ACTIVE,
    (_S.TRIAL, _E.DISTRUSTED): _S.ROLLED_BACK,
    (_S.TRIAL, _E.BROKE): _S.ROLLED_BACK,
    (_S.TRIAL, _E.REBOOTED): _S.ROLLED_BACK,  # a crash is a failed trial
    (_S.ACTIVE, _E.RELAPSED): _S.ROLLED_BACK,  # the slot before it serves again
    (_S.ROLLED_BACK, _E.STRANDED): _S.FAILED,  # written once the other slot has turned out to be no refuge
}
"""There is no way from a trial to WITHDRAWN: a trial lasts seconds, and ends in a slot that serves."""

TERMINAL = frozenset({Stage.ACTIVE, Stage.REFUSED, Stage.FAILED, Stage.ROLLED_BACK, Stage.WITHDRAWN})
"""Nothing is under way. What led here may be undone by a relapse; else only a new attempt, from OFFERED, leads on."""


def step(stage: Stage, event: Event) -> Stage:
    """The stage after `event`.

    Raises:
        FaultError: the table has no such step: a defect of the agent, which must not act on it.
    """
    try:
        return TABLE[stage, event]
    except KeyError:
        raise FaultError(f"an update that is {stage} cannot have {event}") from None
