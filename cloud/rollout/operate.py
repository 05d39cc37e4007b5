"""What operators do to a rollout, as pure steps; each may be repeated."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from cloud.rollout.plan import join, replan
from cloud.rollout.spec import Spec
from cloud.rollout.state import TERMINAL, Rollout, RolloutState
from shared.errors import RefusedError


def pause(rollout: Rollout, *, at: float) -> Rollout:
    """Ask nobody else and let no wave go on; devices that fail still halt it.

    Raises:
        RefusedError: it is over.
    """
    _require_open(rollout, "pause")
    return rollout if rollout.paused_at is not None else msgspec.structs.replace(rollout, paused_at=at)


def resume(rollout: Rollout, *, at: float) -> Rollout:
    """Go on; the time of the pause counts against no deadline and no soak.

    Raises:
        RefusedError: it is over.
    """
    _require_open(rollout, "resume")
    if rollout.paused_at is None:
        return rollout
    gone = max(0.0, at - rollout.paused_at)
    times = {name: value + gone for name in _CLOCKS if (value := getattr(rollout, name)) is not None}
    return msgspec.structs.replace(rollout, paused_at=None, created_at=rollout.created_at + gone, **times)


def roll_back(rollout: Rollout, *, reason: str, at: float) -> Rollout:
    """End it, whatever its state, and give everybody what ran before; with the former bytes as `fallback`.

    Raises:
        RefusedError: it was ended otherwise before, or there is nothing to go back to.
    """
    if rollout.state in (RolloutState.HALTED, RolloutState.SUPERSEDED):
        raise RefusedError(f"{rollout.id} is {rollout.state} already", hint="`hinterland rollouts` lists them.")
    if rollout.state is RolloutState.DONE and not rollout.previous:
        raise RefusedError(
            f"{rollout.release} is the first release of {rollout.model} in {rollout.fleet}",
            hint="There is nothing to go back to; roll another release out.",
        )
    return msgspec.structs.replace(rollout, state=RolloutState.HALTED, reason=reason, paused_at=None, finished_at=at)


def retarget(rollout: Rollout, spec: Spec, devices: Sequence[str]) -> Rollout:
    """Follow another specification for the same release: waves that have begun stay, all others are planned anew.

    Raises:
        RefusedError: it is over, or names a canary that is none of `devices`.
    """
    _require_open(rollout, "change")
    waves = replan(rollout.waves, devices, spec, opened=rollout.wave)
    return msgspec.structs.replace(rollout, spec=spec, waves=waves)


def admit(rollout: Rollout, newcomers: Sequence[str]) -> Rollout:
    """Take in devices that came late: they obey the same stages as all others."""
    known = {device for wave in rollout.waves for device in wave.devices}
    fresh = [device for device in newcomers if device not in known]
    if not fresh or rollout.state in TERMINAL:
        return rollout
    waves = join(rollout.waves, fresh, rollout.spec, opened=rollout.wave)
    return msgspec.structs.replace(rollout, waves=waves)


_CLOCKS = ("began_at", "shadow_at", "opened_at", "complete_at")


def _require_open(rollout: Rollout, what: str) -> None:
    if rollout.state in TERMINAL:
        raise RefusedError(
            f"{rollout.id} is {rollout.state}, and there is nothing to {what}", hint="`hinterland rollouts` lists them."
        )
