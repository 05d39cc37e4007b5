"""Whom to kill, and when: drawn from the scenario's seed before anything runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum
from itertools import zip_longest
from random import Random
from typing import NamedTuple

from cloud.training.events import (
    AnyEvent,
    AttemptStarted,
    Phase,
    PhaseStarted,
    RoundFinished,
    RoundStarted,
    UpdateAccepted,
    UpdateRefused,
)


class Victim(StrEnum):
    """Kinds of processes."""

    COORDINATOR = "coordinator"
    SUPERLINK = "superlink"
    JOB = "job"
    BROKER = "broker"
    TRAINER = "trainer"
    AGENT = "agent"


class Kill(NamedTuple):
    """One `kill -9`."""

    victim: Victim
    device: str
    """Whose agent or trainer; empty for a server."""

    phase: Phase
    """Not before the run is there."""

    round: int
    """Not before this one has begun; 0 outside the rounds."""

    pause_s: float
    """At least so long after the kill before, or after the phase or round began."""


ROUNDS = 9
EARLY = ((Victim.JOB, Phase.GATHER), (Victim.SUPERLINK, Phase.GATHER), (Victim.TRAINER, Phase.STATISTICS))
LATE = (
    (Victim.JOB, Phase.EXPORT),
    (Victim.SUPERLINK, Phase.CALIBRATE),
    (Victim.TRAINER, Phase.CALIBRATE),
    (Victim.JOB, Phase.QUANTISE),
    (Victim.TRAINER, Phase.JUDGE),
    (Victim.COORDINATOR, Phase.JUDGE),
    (Victim.JOB, Phase.JUDGE),
)
SHARES = {
    Victim.JOB: 7,
    Victim.SUPERLINK: 6,
    Victim.TRAINER: 8,
    Victim.AGENT: 4,
    Victim.COORDINATOR: 4,
    Victim.BROKER: 3,
}
"""Kills within the rounds."""


def plan(seed: int, devices: Sequence[str], *, kills: int = 42, rounds: int = ROUNDS) -> list[Kill]:
    """The kills in their order; fewer than the full number still reach every kind of process."""
    random = Random(f"durable {seed}")  # noqa: S311  a plan, no secret

    def one(victim: Victim, phase: Phase, round_: int, longest_s: float) -> Kill:
        device = random.choice(devices) if victim in (Victim.TRAINER, Victim.AGENT) else ""
        return Kill(victim, device, phase, round_, random.uniform(0.0, longest_s))

    middle = [victim for victim, share in SHARES.items() for _ in range(share)]
    random.shuffle(middle)
    drawn = sorted(random.randint(1, rounds) for _ in middle)
    return _thin(
        random,
        [
            *(one(victim, phase, 0, 0.3) for victim, phase in EARLY),
            *(one(victim, Phase.ROUNDS, round_, 1.5) for victim, round_ in zip(middle, drawn, strict=True)),
            *(one(victim, phase, 0, 0.1) for victim, phase in LATE),
        ],
        kills,
    )


def _thin(random: Random, whole: list[Kill], kills: int) -> list[Kill]:
    """So many of them, of each kind of process as evenly as can be, in their order."""
    groups = [[at for at, kill in enumerate(whole) if kill.victim is victim] for victim in Victim]
    for group in groups:
        random.shuffle(group)
    turns = [at for turn in zip_longest(*groups) for at in turn if at is not None]
    return [whole[at] for at in sorted(turns[:kills])]


class Moment(NamedTuple):
    """What a run does just now, as its ledger tells."""

    phase: Phase | None
    round: int
    step: str
    """The phase; within a round `train`, `upload` once an update is there, `checkpoint` once all are, then
    `evaluate`."""

    since: float
    """Unix seconds of the last phase's or round's begin."""


def moment(events: Iterable[AnyEvent], *, checkpoints: Iterable[int]) -> Moment:
    """Where a run is; `checkpoints` are the rounds whose weights are on disk."""
    phase, round_, step, since = None, 0, "start", 0.0
    cohort: set[str] = set()
    for event in events:
        match event:
            case AttemptStarted():
                phase, step, since = None, "start", event.at
            case PhaseStarted():
                phase, step, since = event.phase, event.phase.value, event.at
            case RoundStarted():
                round_, step, since, cohort = event.round, "train", event.at, set(event.cohort)
            case UpdateAccepted() | UpdateRefused():
                cohort.discard(event.device)
                step = "upload" if cohort else "checkpoint"
            case RoundFinished():
                step, since = "between rounds", event.at
            case _:
                pass
    if step == "checkpoint" and round_ in checkpoints:
        step = "evaluate"
    return Moment(phase, round_, step, since)
