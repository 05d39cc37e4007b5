"""What a fleet should run, as a function of its rollouts; so it can be computed again after any crash."""

from __future__ import annotations

from collections.abc import Iterable

from cloud.rollout.advance import Rollout, RolloutState
from shared.bundle import FleetDesired


def desired(fleet: str, rollouts: Iterable[Rollout]) -> FleetDesired:
    """The signed answer for `fleet`.

    Args:
        fleet: its id.
        rollouts: all of the fleet's, oldest first.
    """
    default: dict[str, str] = {}
    devices: dict[str, dict[str, str]] = {}
    for rollout in rollouts:
        if rollout.state is RolloutState.DONE:
            default[rollout.model] = rollout.release
            _clear(devices, rollout.model)
            continue
        target = rollout.fallback if rollout.state is RolloutState.HALTED else rollout.release
        for device in rollout.offered:
            devices.setdefault(device, {})[rollout.model] = target
    return FleetDesired(fleet=fleet, default=default, devices=devices)


def _clear(devices: dict[str, dict[str, str]], model: str) -> None:
    """A finished rollout speaks for every device."""
    for entry in devices.values():
        entry.pop(model, None)
    for device in [name for name, entry in devices.items() if not entry]:
        del devices[device]
