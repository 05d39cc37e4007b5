"""What to do about one model line now: pure judgement."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from edge.update.journal import Entry
from edge.update.machine import TERMINAL
from shared.messages import Stage

MAX_TRIALS = 3
"""A release that failed so often on this device is left alone; a better one has another id."""

FIRST_PAUSE_S = 5.0
MOST_PAUSE_S = 600.0

HELD_PAUSE_S = 60.0
"""Seconds until an obstacle that may pass is looked at again."""

SILENCE_S = 3 * 86_400.0
"""Seconds without a desired state that can be proven, after which a device ends a shadow by itself. The signed
timestamp lasts a day, so that a device that lost its link goes on comparing for about four."""


class Move(StrEnum):
    """The next thing to do."""

    REST = "rest"
    ATTEMPT = "attempt"
    """Fetch, try and commit the desired release."""

    CHALLENGE = "challenge"
    """Fetch the challenger, and run it in the shadow of what serves."""

    SHADOW = "shadow"
    """Load the challenger again that the journal says was running."""

    PROMOTE = "promote"
    """Try and commit the challenger, which is the desired release now."""

    WITHDRAW = "withdraw"
    """End the shadow; nothing was wrong."""

    END = "end"
    """End the shadow: the challenger failed."""

    RELAPSE = "relapse"
    """What serves fails in service: serve what was there before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """All that the judgement depends on."""

    desired: str
    """Release that the signers want; empty for none."""

    active: str
    """Release in the active slot; empty for none."""

    entry: Entry | None
    """The journal's last step."""

    metadata: str
    """Fingerprint of the signed metadata that the device acts on."""

    waited_s: float
    """Seconds since the last attempt ended; infinite after a restart."""

    challenger: str = ""
    """Release that the signers want in the shadow; empty for none."""

    silent_s: float = 0.0
    """Seconds since the desired state could last be proven; 0 while it can be."""

    rotten: bool = False
    """The active slot is damaged, though what was loaded from it serves on."""

    running: str = ""
    """Release that runs in the shadow now; empty for none."""

    ailing: str = ""
    """Why what serves should not; empty while it is well."""

    challenger_ailing: str = ""
    """Why what runs in the shadow should not."""


def decide(situation: Situation) -> Move:
    """The next move; a release that serves badly comes first."""
    entry = situation.entry
    if situation.ailing and situation.active:
        return Move.RELAPSE
    if entry is not None and entry.stage is Stage.SHADOW:
        return _in_shadow(situation, entry)
    if should_attempt(situation):
        return Move.ATTEMPT
    return Move.CHALLENGE if should_challenge(situation) else Move.REST


def should_attempt(situation: Situation) -> bool:
    """Say whether to fetch, try and commit the desired release now."""
    here = ("",) if situation.rotten else ("", situation.active)
    return situation.desired not in here and _due(situation.desired, situation)


def should_challenge(situation: Situation) -> bool:
    """Say whether to fetch the challenger and run it in the shadow now.

    Only beside what the signers want to serve, or what serves because that is left alone here: two updates of one
    line would take the idle slot, and the journal's one entry, from each other.
    """
    settled = situation.desired in ("", situation.active) or left_alone(situation.desired, situation.entry)
    return settled and situation.challenger not in ("", situation.active) and _due(situation.challenger, situation)


def left_alone(release: str, entry: Entry | None) -> bool:
    """Whether a release has failed here often enough."""
    if entry is None:
        return False
    return (entry.trials if entry.release == release else entry.past.get(release, 0)) >= MAX_TRIALS


def pause_s(failures: int) -> float:
    """Seconds to leave a release alone after `failures` failures in a row."""
    return min(MOST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(max(failures - 1, 0), 16)) if failures else 0.0


def _in_shadow(situation: Situation, entry: Entry) -> Move:
    if situation.challenger_ailing:
        return Move.END
    if situation.silent_s:
        if situation.silent_s > SILENCE_S:
            return Move.WITHDRAW
    elif situation.desired == entry.release:
        return Move.PROMOTE
    elif situation.challenger != entry.release or should_attempt(situation):
        return Move.WITHDRAW  # another release is to serve: it needs the slot
    return Move.SHADOW if situation.active and not situation.running else Move.REST


def _due(release: str, situation: Situation) -> bool:
    entry = situation.entry
    if left_alone(release, entry):
        return False
    if entry is None or entry.release != release:
        return True
    if entry.stage not in TERMINAL:
        return entry.stage is not Stage.OFFERED or situation.waited_s >= HELD_PAUSE_S
    if entry.distrusted:  # the same bytes under the same signatures would be refused again
        return entry.metadata != situation.metadata
    return situation.waited_s >= pause_s(entry.failures)
