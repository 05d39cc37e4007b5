"""Which devices a rollout is for, and what a place is."""

from __future__ import annotations

from collections.abc import Mapping

from cloud.rollout.spec import Budget, Target

Labels = Mapping[str, str]


def matching(target: Target, devices: Mapping[str, Labels]) -> list[str]:
    """Names of `devices` (name → labels) that `target` means, sorted."""
    return sorted(name for name, labels in devices.items() if matches(target, name, labels))


def matches(target: Target, name: str, labels: Labels) -> bool:
    """Whether one device is meant."""
    if name in target.devices:
        return True
    if not target.labels:
        return not target.devices
    return all(labels.get(key) == value or (value == "*" and key in labels) for key, value in target.labels.items())


def place(budget: Budget, name: str, labels: Labels) -> str:
    """The place whose budget a device counts against; without the label it is a place of its own."""
    where = labels.get(budget.label, "")
    return f"={where}" if where else name
