"""A rollout as it is kept, what can happen to it, and what that makes of it.

PENDING ─► SHADOWING ─► OPEN ─► SOAKING ─► SHADOWING … ─► DONE
   └───────────┴──────────┴────────┴─────► HALTED, SUPERSEDED

A wave is shadowed only where a comparison is asked for and there is something to compare with. DONE leads to HALTED
when an operator rolls back.
"""

from __future__ import annotations

from enum import StrEnum
from typing import assert_never

import msgspec

from cloud.rollout.gates import Proof
from cloud.rollout.plan import Wave
from cloud.rollout.spec import Mode, Spec
from shared.messages import Stage

BAD = frozenset({Stage.REFUSED, Stage.FAILED, Stage.ROLLED_BACK})
SETTLED = BAD | {Stage.ACTIVE}


class RolloutState(StrEnum):
    """Where a rollout is; the last three are terminal."""

    PENDING = "pending"
    """Waits for people or for its window."""

    SHADOWING = "shadowing"
    """Devices of wave `Rollout.wave` run the release beside the one that serves."""

    OPEN = "open"
    """They are asked to let it serve, as many at a time as their places' budgets allow."""

    SOAKING = "soaking"
    """All of them do; the rollout watches them for a while."""

    DONE = "done"
    HALTED = "halted"
    SUPERSEDED = "superseded"


TERMINAL = frozenset({RolloutState.DONE, RolloutState.HALTED, RolloutState.SUPERSEDED})


class Rollout(msgspec.Struct, frozen=True, kw_only=True):
    """One release on its way to one fleet. Times are Unix seconds; a pause moves them on by its length."""

    id: str
    fleet: str
    model: str
    release: str
    previous: str
    """What the fleet ran before; empty for the first release."""

    fallback: str = ""
    """Where devices of a halted rollout are sent: `previous`' bytes under a counter they accept."""

    spec: Spec = Spec(release="")
    waves: tuple[Wave, ...]
    state: RolloutState = RolloutState.PENDING
    wave: int = -1
    """Index of the wave that is shadowed or was opened last."""

    asked: tuple[str, ...] = ()
    """Devices asked so far to let the release serve, in their order."""

    began_at: float | None = None
    """When the first wave began."""

    shadow_at: float | None = None
    opened_at: float | None = None
    complete_at: float | None = None
    paused_at: float | None = None
    """None while it is not paused."""

    proofs: dict[str, tuple[Proof, ...]] = {}
    """Index of a wave → what its comparison had proven when it ended."""

    reason: str = ""
    created_at: float
    done_at: float | None = None
    """When it was done, also if it was rolled back afterwards."""

    finished_at: float | None = None

    @property
    def compares(self) -> bool:
        """Whether waves are shadowed before they open."""
        return self.spec.shadow.mode is not Mode.NONE and bool(self.previous)

    @property
    def reached(self) -> tuple[str, ...]:
        """Devices of all waves that have begun, in the order of their waves."""
        return tuple(device for wave in self.waves[: self.wave + 1] for device in wave.devices)

    @property
    def shadowing(self) -> tuple[str, ...]:
        """Devices that should run the release beside the one that serves."""
        if not self.compares or self.state not in (RolloutState.SHADOWING, RolloutState.OPEN):
            return ()
        asked = set(self.asked)
        return tuple(device for device in self.waves[self.wave].devices if device not in asked)


class Shadow(msgspec.Struct, frozen=True):
    """Have the devices of a wave run the release beside the one that serves."""

    wave: int


class Open(msgspec.Struct, frozen=True):
    """The wave may have the release: its comparison, if there was one, has proven what was asked."""

    wave: int
    proofs: tuple[Proof, ...] = ()


class Ask(msgspec.Struct, frozen=True):
    """Ask devices of the open wave to let it serve."""

    devices: tuple[str, ...]


class Complete(msgspec.Struct, frozen=True):
    """Every device of the wave has settled: start to soak."""

    wave: int


class Finish(msgspec.Struct, frozen=True):
    """The release is the fleet's new default."""


class Halt(msgspec.Struct, frozen=True):
    """Stop, and send back the devices that were asked."""

    reason: str
    proofs: tuple[Proof, ...] = ()


Action = Shadow | Open | Ask | Complete | Finish | Halt


def apply(rollout: Rollout, action: Action, *, at: float) -> Rollout:
    """The rollout after `action`."""
    replace = msgspec.structs.replace
    began = rollout.began_at if rollout.began_at is not None else at
    match action:
        case Shadow(wave):
            state = RolloutState.SHADOWING
            return replace(rollout, state=state, wave=wave, began_at=began, shadow_at=at, opened_at=None)
        case Open(wave, proofs):
            kept = rollout.proofs | ({str(wave): proofs} if proofs else {})
            state = RolloutState.OPEN
            return replace(rollout, state=state, wave=wave, began_at=began, opened_at=at, complete_at=None, proofs=kept)
        case Ask(devices):
            return replace(rollout, asked=rollout.asked + devices)
        case Complete():
            return replace(rollout, state=RolloutState.SOAKING, complete_at=at)
        case Finish():
            return replace(rollout, state=RolloutState.DONE, done_at=at, finished_at=at)
        case Halt(reason, proofs):
            kept = rollout.proofs | ({str(rollout.wave): proofs} if proofs else {})
            state = RolloutState.HALTED
            return replace(rollout, state=state, reason=reason, paused_at=None, finished_at=at, proofs=kept)
        case _:
            assert_never(action)


def supersede(rollout: Rollout, *, by: str, at: float) -> Rollout:
    """The rollout after a newer one took its place."""
    reason = f"superseded by {by}"
    return msgspec.structs.replace(
        rollout, state=RolloutState.SUPERSEDED, reason=reason, paused_at=None, finished_at=at
    )
