"""How fleets are served: the rule that operators set for each, as the schedule's lanes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec

from cloud.distribution.schedule import Lane
from cloud.rollout.spec import Window
from cloud.rollout.windows import check_window, is_open
from shared.distribution import LEAST_RATE, MOST_PRIORITY, MOST_RATE, MOST_WINDOWS, Distribution
from shared.errors import RefusedError
from shared.ids import DeviceId


class Fleets(Protocol):
    """The port to what is known of fleets; called in worker threads."""

    def rules(self) -> Mapping[str, Distribution]:
        """Fleet → its rule, for those that have one.

        Raises:
            FaultError: the store failed.
        """
        ...

    def fleet(self, device: DeviceId) -> str:
        """Where a device belongs; empty when nobody knows.

        Raises:
            FaultError: the store failed.
        """
        ...


class MemoryFleets:
    """The twin."""

    def __init__(
        self, *, devices: Mapping[str, str] | None = None, rules: Mapping[str, Distribution] | None = None
    ) -> None:
        self.devices = dict(devices or {})
        self.held = dict(rules or {})

    def rules(self) -> Mapping[str, Distribution]:
        return dict(self.held)

    def fleet(self, device: DeviceId) -> str:
        return self.devices.get(device, "")


def lane_of(rule: Distribution, *, at: float) -> Lane:
    """The lane that a rule comes to at `at`, Unix seconds."""
    return Lane(
        weight=rule.priority,
        rate=rule.rate_mib_s * (1 << 20) if rule.rate_mib_s else None,
        open=is_open(_windows(rule), at),
    )


def check_rule(rule: Distribution) -> None:
    """Refuse a rule that means nothing.

    Raises:
        RefusedError: a number out of bounds, or a window that is none.
    """
    if rule.rate_mib_s and not LEAST_RATE <= rule.rate_mib_s <= MOST_RATE:
        raise RefusedError(
            f"a rate of {rule.rate_mib_s} MiB a second is not within {LEAST_RATE} and {MOST_RATE}",
            hint="0 takes the bound away; windows say when nothing is sent.",
        )
    if not 1 <= rule.priority <= MOST_PRIORITY:
        raise RefusedError(f"priority {rule.priority} is not within 1 and {MOST_PRIORITY}", hint="1 is the usual one.")
    if len(rule.windows) > MOST_WINDOWS:
        raise RefusedError(f"{len(rule.windows)} windows, over the limit of {MOST_WINDOWS}", hint="Join some of them.")
    for window in _windows(rule):
        check_window(window)


def _windows(rule: Distribution) -> list[Window]:
    return [msgspec.convert(msgspec.to_builtins(window), Window) for window in rule.windows]
