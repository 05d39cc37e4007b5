"""The port: jobs are handed in by name, looked at, followed, and ended.

A job's name is that of its directory, which holds all it reads and writes and outlives every process that worked there;
who runs jobs elsewhere shows them the same directory. So to hand one in again is harmless at any moment, and nobody
has to remember what was started: a coordinator that was killed asks by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple, Protocol

LOG = "job.log"
"""In the job's directory: what all its processes said."""

MOST_SAID = 64 << 10
"""Bytes of a log in one answer."""


class Kind(StrEnum):
    """What a job does; each is one command."""

    RUN = "run"
    """A federated run (`cloud.training.job`)."""

    WARM_START = "warm-start"
    """First weights from data of the company's own (`cloud.central.warm`)."""

    EVALUATION = "evaluation"
    """Files held against data of the company's own (`cloud.central.evaluate`)."""

    ENGINE = "engine"
    """A file for one GPU (`cloud.models.engines.job`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One piece of work."""

    kind: Kind
    directory: Path
    """Its order lies there before it is handed in."""

    @property
    def name(self) -> str:
        """Unique among jobs; letters, digits and dashes."""
        return self.directory.name


class Phase(StrEnum):
    """Where a job is."""

    ABSENT = "absent"
    """Nobody handed it in."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    """It said why, or was killed; handed in again, it begins anew or goes on, as its kind does."""


class State(NamedTuple):
    """What is known of a job."""

    phase: Phase
    reason: str = ""
    """Why it failed, in its own words where it had any."""

    final: bool = False
    """It refused by itself: handed in again, it would refuse again."""


class Jobs(Protocol):
    """Where jobs run; safe to call from several threads."""

    def submit(self, job: Job) -> None:
        """Have the job run: nothing happens while it does, and one that has ended begins anew.

        Raises:
            FaultError: no process could be started.
        """
        ...

    def state(self, job: Job) -> State:
        """Where it is, whoever handed it in, also before we were born."""
        ...

    def log(self, job: Job, *, since: int = 0) -> tuple[bytes, int]:
        """What it said from byte `since` on, `MOST_SAID` at most, and the byte to ask for next."""
        ...

    def cancel(self, job: Job) -> None:
        """End it, if it runs."""
        ...

    def close(self) -> None:
        """End every job that was handed in here and would die with us anyway; others go on."""
        ...


class Piece(NamedTuple):
    """A piece of a log."""

    said: bytes
    next: int
    """Byte to ask for next."""

    over: bool
    """There is no more, and there will not be."""


def read_log(jobs: Jobs, job: Job, *, since: int) -> Piece:
    """What a job said from byte `since` on."""
    ended = jobs.state(job).phase is not Phase.RUNNING  # asked before reading: its last words are read below
    said, offset = jobs.log(job, since=since)
    return Piece(said, offset, over=ended and not said)


def follow(jobs: Jobs, job: Job, *, pause: Callable[[], object]) -> Iterator[bytes]:
    """What a job says, to its end; `pause` is called whenever there is nothing new."""
    offset = 0
    while True:
        piece = read_log(jobs, job, since=offset)
        offset = piece.next
        if piece.said:
            yield piece.said
        elif piece.over:
            return
        else:
            pause()
