"""What operators do to a rollout, as pure steps; each may be repeated."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import msgspec

from cloud.rollout.plan import Wave, join, replan
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


def admit(rollout: Rollout, present: Sequence[str]) -> Rollout:
    """Take in who of those `present` came late, or was away when its wave was asked: they obey the same stages."""
    if rollout.state in TERMINAL:
        return rollout
    over = rollout.wave + (rollout.state is RolloutState.SOAKING)  # waves of which nobody is asked any more
    settled = {*rollout.asked, *(device for wave in rollout.waves[max(over, 0) :] for device in wave.devices)}
    fresh = [device for device in present if device not in settled]
    if not fresh:
        return rollout
    waves = join(_without(rollout.waves, set(fresh)), fresh, rollout.spec, opened=rollout.wave)
    return msgspec.structs.replace(rollout, waves=waves)


def _without(waves: Sequence[Wave], devices: Collection[str]) -> list[Wave]:
    stay = [tuple(device for device in wave.devices if device not in devices) for wave in waves]
    return [msgspec.structs.replace(wave, devices=left) for wave, left in zip(waves, stay, strict=True)]


_CLOCKS = ("began_at", "shadow_at", "opened_at", "complete_at")


def _require_open(rollout: Rollout, what: str) -> None:
    if rollout.state in TERMINAL:
        raise RefusedError(
            f"{rollout.id} is {rollout.state}, and there is nothing to {what}", hint="`hinterland rollouts` lists them."
        )
