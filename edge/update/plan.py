"""Whether to start an update now: pure judgement of one model line."""

from __future__ import annotations

from dataclasses import dataclass

from edge.update.journal import Entry
from edge.update.machine import TERMINAL

MAX_TRIALS = 3
"""A release that failed so often on this device is left alone; a better one has another id."""

FIRST_PAUSE_S = 5.0
MOST_PAUSE_S = 600.0


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


def should_attempt(situation: Situation) -> bool:
    """Say whether to fetch, try and commit the desired release now."""
    entry = situation.entry
    if situation.desired in ("", situation.active):
        return False
    if entry is None or entry.release != situation.desired or entry.stage not in TERMINAL:
        return True
    if entry.trials >= MAX_TRIALS:
        return False
    if entry.distrusted:  # the same bytes under the same signatures would be refused again
        return entry.metadata != situation.metadata
    return situation.waited_s >= pause_s(entry.failures)


def pause_s(failures: int) -> float:
    """Seconds to leave a release alone after `failures` failures in a row."""
    return min(MOST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(max(failures - 1, 0), 16)) if failures else 0.0
