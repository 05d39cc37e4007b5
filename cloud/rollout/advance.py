"""Decide how a rollout goes on, from its state and what devices report; nothing here acts.

PENDING ──open──► OPEN ──complete──► SOAKING ──open──► OPEN … ──finish──► DONE
└───────────halt────┴──────────────────────────────► HALTED
any of the first three ──supersede──► SUPERSEDED
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import assert_never

import msgspec

from cloud.rollout.plan import Wave
from shared.messages import Stage

BAD = frozenset({Stage.REFUSED, Stage.FAILED, Stage.ROLLED_BACK})
SETTLED = BAD | {Stage.ACTIVE}


class RolloutState(StrEnum):
    """Where a rollout is; the last three are terminal."""

    PENDING = "pending"
    OPEN = "open"
    """Devices of wave `Rollout.wave` are asked to run the release."""

    SOAKING = "soaking"
    """All of them do; the rollout watches them for a while."""

    DONE = "done"
    HALTED = "halted"
    SUPERSEDED = "superseded"


TERMINAL = frozenset({RolloutState.DONE, RolloutState.HALTED, RolloutState.SUPERSEDED})


class Rollout(msgspec.Struct, frozen=True, kw_only=True):
    """One release on its way to one fleet."""

    id: str
    fleet: str
    model: str
    release: str
    previous: str
    """What the fleet ran before; empty for the first release."""

    fallback: str = ""
    """Where devices of a halted rollout are sent: `previous`' bytes under a counter they accept."""

    waves: tuple[Wave, ...]
    state: RolloutState = RolloutState.PENDING
    wave: int = -1
    """Index of the wave opened last."""

    opened_at: float | None = None
    complete_at: float | None = None
    reason: str = ""
    created_at: float
    finished_at: float | None = None

    @property
    def offered(self) -> tuple[str, ...]:
        """Devices asked so far, in the order of their waves."""
        return tuple(device for wave in self.waves[: self.wave + 1] for device in wave.devices)


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The newest word of a device about the rollout's release."""

    stage: Stage
    reason: str = ""


class Open(msgspec.Struct, frozen=True):
    """Ask the devices of a wave."""

    wave: int


class Complete(msgspec.Struct, frozen=True):
    """Every device of the wave has settled: start to soak."""

    wave: int


class Finish(msgspec.Struct, frozen=True):
    """The release is the fleet's new default."""


class Halt(msgspec.Struct, frozen=True):
    """Stop, and send back the devices that were asked."""

    reason: str


Action = Open | Complete | Finish | Halt


def advance(
    rollout: Rollout, reports: Mapping[str, Report], *, at: float, excused: Collection[str] = ()
) -> list[Action]:
    """All that is due now, in order; empty when it is time to wait, or over.

    Args:
        rollout: as stored.
        reports: newest report about the rollout's release, by device.
        at: now, Unix seconds.
        excused: devices that left the fleet since the plan was made.
    """
    actions: list[Action] = []
    while (action := step(rollout, reports, at=at, excused=excused)) is not None:
        actions.append(action)
        rollout = apply(rollout, action, at=at)
    return actions


def step(rollout: Rollout, reports: Mapping[str, Report], *, at: float, excused: Collection[str] = ()) -> Action | None:
    """The next thing due, or None."""
    if rollout.state in TERMINAL:
        return None
    if rollout.state is RolloutState.PENDING:
        return _next(rollout)
    if (flaw := _flaw(rollout, reports, at=at, excused=excused)) is not None:
        return Halt(flaw)
    wave = rollout.waves[rollout.wave]
    if rollout.state is RolloutState.OPEN:
        settled = all(
            _stage(reports, device) in BAD | {Stage.ACTIVE} for device in wave.devices if device not in excused
        )
        late = at >= (rollout.opened_at or 0.0) + wave.deadline_s  # and within what is tolerated, or it had halted
        return Complete(rollout.wave) if settled or late else None
    return _next(rollout) if at >= (rollout.complete_at or 0.0) + wave.soak_s else None


def apply(rollout: Rollout, action: Action, *, at: float) -> Rollout:
    """The rollout after `action`."""
    replace = msgspec.structs.replace
    match action:
        case Open(wave):
            return replace(rollout, state=RolloutState.OPEN, wave=wave, opened_at=at, complete_at=None)
        case Complete():
            return replace(rollout, state=RolloutState.SOAKING, complete_at=at)
        case Finish():
            return replace(rollout, state=RolloutState.DONE, finished_at=at)
        case Halt(reason):
            return replace(rollout, state=RolloutState.HALTED, reason=reason, finished_at=at)
        case _:
            assert_never(action)


def supersede(rollout: Rollout, *, by: str, at: float) -> Rollout:
    """The rollout after a newer one took its place."""
    return msgspec.structs.replace(rollout, state=RolloutState.SUPERSEDED, reason=f"superseded by {by}", finished_at=at)


def _next(rollout: Rollout) -> Action:
    following = rollout.wave + 1
    return Open(following) if following < len(rollout.waves) else Finish()


def _stage(reports: Mapping[str, Report], device: str) -> Stage | None:
    report = reports.get(device)
    return None if report is None else report.stage


def _flaw(rollout: Rollout, reports: Mapping[str, Report], *, at: float, excused: Collection[str]) -> str | None:
    """Why the rollout must stop, or None; devices of earlier waves are watched to the end."""
    for index, wave in enumerate(rollout.waves[: rollout.wave + 1]):
        present = [device for device in wave.devices if device not in excused]
        bad = [device for device in present if _stage(reports, device) in BAD]
        current = index == rollout.wave and rollout.state is RolloutState.OPEN
        if current and at >= (rollout.opened_at or 0.0) + wave.deadline_s:
            bad += [device for device in present if device not in bad and _stage(reports, device) is not Stage.ACTIVE]
        if len(bad) > wave.tolerated:
            return _explain(bad[0], reports, wave)
    return None


def _explain(device: str, reports: Mapping[str, Report], wave: Wave) -> str:
    report = reports.get(device)
    if report is None or report.stage not in BAD:
        return f"{device} did not settle within {wave.deadline_s:.0f} s"
    return f"{device}: {report.stage.value}" + (f" ({report.reason})" if report.reason else "")
