"""When drift is reason enough to train again: a pure decision over what is known of one model line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from cloud.drift.detect import DriftState


class RetrainPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """What a run needs before it is worth its energy."""

    devices: int = 1
    """Drifted devices with labels enough."""

    labels: int = 50
    """Labelled live examples a drifted device must hold to count."""

    patience_s: float = 600.0
    """Seconds after the first alarm for which a run waits until every drifted device has its labels."""

    cooldown_s: float = 900.0
    """Seconds after a run began before the next may: its release must first show what it does."""


class RetrainDecision(msgspec.Struct, frozen=True, kw_only=True):
    """Whether to train, with whom, and why."""

    start: bool
    reason: str
    devices: list[str] = []
    """Drifted devices with labels enough, in order of their names."""

    waiting: list[str] = []
    """Drifted devices whose labels are missing."""

    labels: dict[str, int] = {}
    """Labelled examples held, per device of `devices`: the data of a run is a function of these numbers."""


def decide(
    states: Iterable[DriftState],
    labels_held: Mapping[str, int],
    policy: RetrainPolicy,
    *,
    at: float,
    last_run: float | None = None,
    running: bool = False,
) -> RetrainDecision:
    """Decide for one model line.

    Args:
        states: of the devices, each on the release it runs now.
        labels_held: device → labelled live examples it holds for training.
        policy: what a run needs.
        at: now, Unix seconds.
        last_run: when the newest run of this line began, Unix seconds.
        running: whether a run of this line, or the rollout of its release, is under way.
    """
    drifted = sorted((state for state in states if state.drifted), key=lambda state: state.device)
    ready = [state.device for state in drifted if labels_held.get(state.device, 0) >= policy.labels]
    waiting = [state.device for state in drifted if state.device not in ready]
    start, reason = _verdict(drifted, ready, waiting, policy, at=at, last_run=last_run, running=running)
    labels = {device: labels_held[device] for device in ready}
    return RetrainDecision(start=start, reason=reason, devices=ready, waiting=waiting, labels=labels)


def _verdict(
    drifted: list[DriftState],
    ready: list[str],
    waiting: list[str],
    policy: RetrainPolicy,
    *,
    at: float,
    last_run: float | None,
    running: bool,
) -> tuple[bool, str]:
    if not drifted:
        return False, "no device has drifted"
    if running:
        return False, "a run or its rollout is under way"
    if last_run is not None and at - last_run < policy.cooldown_s:
        return False, f"the last run began {at - last_run:.0f} s ago, the next may after {policy.cooldown_s:.0f} s"
    if len(ready) < policy.devices:
        return False, f"{len(ready)} drifted devices hold {policy.labels} labels, a run needs {policy.devices}"
    first = min(state.since for state in drifted)
    if waiting and at - first < policy.patience_s:
        return False, f"waiting for labels on {', '.join(waiting)}"
    return True, f"{', '.join(ready)} drifted and hold labels"
