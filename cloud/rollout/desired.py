"""What a fleet should run, as a function of its rollouts; so it can be computed again after any crash."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import msgspec

from cloud.rollout.spec import Mode
from cloud.rollout.state import Rollout, RolloutState
from shared.bundle import Challenge, FleetDesired


def desired(fleet: str, rollouts: Iterable[Rollout]) -> FleetDesired:
    """The signed answer for `fleet`.

    Args:
        fleet: its id.
        rollouts: all of the fleet's, oldest first.
    """
    default: dict[str, str] = {}
    devices: dict[str, dict[str, str]] = {}
    challengers: dict[str, dict[str, Challenge]] = {}
    for rollout in rollouts:
        halted = rollout.state is RolloutState.HALTED
        target = rollout.fallback if halted else rollout.release
        if rollout.done_at is not None and _everybody(rollout):
            default[rollout.model] = target
            _clear(devices, rollout.model)
            continue
        for device in rollout.asked:
            devices.setdefault(device, {})[rollout.model] = target
        for device in rollout.shadowing:
            challengers.setdefault(device, {})[rollout.model] = _challenge(rollout)
    return FleetDesired(fleet=fleet, default=default, devices=devices, challengers=challengers)


def signable(wanted: FleetDesired, *, held: FleetDesired, published: Collection[str]) -> FleetDesired:
    """`wanted`, with everything that names a release which is not published yet left as it was signed before.

    So a fallback that waits for its signature keeps back neither the end of its challengers nor other models.
    """
    return msgspec.structs.replace(
        wanted,
        default=_known(wanted.default, held.default, published),
        devices={
            device: known
            for device, entry in wanted.devices.items()
            if (known := _known(entry, held.devices.get(device, {}), published))
        },
    )


def _known(entry: Mapping[str, str], held: Mapping[str, str], published: Collection[str]) -> dict[str, str]:
    known = {model: release for model, release in entry.items() if not release or release in published}
    return known | {model: held[model] for model in entry.keys() & held.keys() if model not in known}


def _everybody(rollout: Rollout) -> bool:
    """A finished rollout for the whole fleet speaks for every device, also for those that come later."""
    return not rollout.spec.target.labels and not rollout.spec.target.devices


def _challenge(rollout: Rollout) -> Challenge:
    shadow = rollout.spec.shadow
    split = shadow.split if shadow.mode is Mode.SPLIT else 0.0
    return Challenge(release=rollout.release, rollout=rollout.id, share=shadow.share, split=split)


def _clear(devices: dict[str, dict[str, str]], model: str) -> None:
    """Forget what single devices were told of a model."""
    for entry in devices.values():
        entry.pop(model, None)
    for device in [name for name, entry in devices.items() if not entry]:
        del devices[device]
