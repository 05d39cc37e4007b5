"""Where each model's update stands: one file, on disk before the effect it announces."""

from __future__ import annotations

import threading
from pathlib import Path

import msgspec

from shared.bundle import Challenge
from shared.durable import read_if_present, write_atomic
from shared.faultpoints import here
from shared.messages import Stage


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """The current step of one model's update."""

    release: str
    stage: Stage
    slot: str = ""
    variant: str = ""
    reason: str = ""
    trials: int = 0
    """How often this release was tried here."""

    starts: int = 0
    """Starts of the agent that began to load this release and did not get through."""

    failures: int = 0
    """Attempts at this release that failed for want of something, in a row."""

    distrusted: bool = False
    """A proof failed; not tried again under the same signed metadata."""

    metadata: str = ""
    """Fingerprint of the signed metadata under which it was distrusted."""

    challenge: Challenge | None = None
    """On which terms it runs in another release's shadow: a restart needs no link to go on."""

    serving_starts: int = 0
    """As `starts`, of the slot that serves while this entry is about another release."""

    past: dict[str, int] = {}
    """How often other releases were tried here, the newest last: an offer in between must not clear a record."""


MAX_PAST = 32
"""Releases whose trials are remembered."""


def opened(before: Entry | None, release: str) -> Entry:
    """The first step of an attempt at `release`, with what is on record of it."""
    if before is None:
        return Entry(release=release, stage=Stage.OFFERED)
    if before.release == release:
        return Entry(
            release=release, stage=Stage.OFFERED, trials=before.trials, failures=before.failures, past=before.past
        )
    past = {**before.past}
    trials = past.pop(release, 0)
    if before.trials:
        past.pop(before.release, None)  # to the end
        past[before.release] = before.trials
    kept = dict(list(past.items())[-MAX_PAST:])
    return Entry(release=release, stage=Stage.OFFERED, trials=trials, past=kept)


class Journal:
    """All entries, read once and written whole; a damaged file counts as empty, since slots prove themselves."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._entries = _read(path)
        self._lock = threading.Lock()  # model lines are updated side by side, each write in a thread of its own

    def entry(self, model: str) -> Entry | None:
        """The model's current step."""
        return self._entries.get(model)

    def models(self) -> list[str]:
        """Every model that has an entry."""
        return sorted(self._entries)

    def write(self, model: str, entry: Entry) -> None:
        """Replace a model's step; durable on return.

        Raises:
            FaultError: the disk does not take it; the announced effect must not happen.
        """
        with self._lock:
            entries = {**self._entries, model: entry}
            write_atomic(self._path, msgspec.json.encode(entries, order="sorted"))
            self._entries = entries
        here(f"journalled.{entry.stage}")

    def hold(self, model: str, entry: Entry) -> None:
        """Replace a model's step until the next start: what has happened has happened, though the disk took no note."""
        with self._lock:
            self._entries = {**self._entries, model: entry}


def _read(path: Path) -> dict[str, Entry]:
    try:
        return msgspec.json.decode(read_if_present(path) or b"{}", type=dict[str, Entry])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {}
