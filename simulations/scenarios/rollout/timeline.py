"""What the coordinator's timeline tells of one rollout: pure functions of its events."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from shared.api import Event
from simulations.scenarios.rollout.record import Count

SETTLED = ("active", "refused", "failed", "rolled-back")
UPDATE = "update."


def reached(events: Sequence[Event], release: str) -> list[str]:
    """Devices that ever took a step with `release`."""
    return sorted({event.data["device"] for event in _steps(events, release)})


def stages(events: Sequence[Event], release: str, *, began: float) -> list[Count]:
    """Devices by stage of `release`, anew at each change."""
    where: dict[str, str] = {}
    counts = []
    for event in _steps(events, release):
        where[event.data["device"]] = event.data["stage"]
        counts.append(Count(at_s=event.at - began, stages=dict(Counter(where.values()))))
    return counts


def busiest(events: Sequence[Event], *, rollout: str, release: str, sites: Mapping[str, str]) -> dict[str, int]:
    """Site → most of its devices that were asked and had not settled, at any moment, as the coordinator knew it.

    An answer that came with the same commit as the next question is counted before it: the question followed from it.
    """
    open_: dict[str, set[str]] = {site: set() for site in sorted(set(sites.values()))}
    most = dict.fromkeys(open_, 0)
    for event in sorted(events, key=lambda each: each.id):
        if event.kind == "rollout.wave" and event.subject == rollout:
            for device in event.data["devices"]:
                open_[sites[device]].add(device)
            most = {site: max(count, len(open_[site])) for site, count in most.items()}
        elif _is_step(event, release) and event.data["stage"] in SETTLED:
            open_[sites[event.data["device"]]].discard(event.data["device"])
    return most


def decided(events: Sequence[Event], rollout: str) -> dict[int, float]:
    """Index of a wave → when its comparison ended, Unix seconds."""
    wave = -1
    ends: dict[int, float] = {}
    for event in sorted(events, key=lambda each: each.id):
        if event.subject != rollout:
            continue
        if event.kind == "rollout.shadow":
            wave = event.data["wave"]
        elif event.kind in ("rollout.open", "rollout.halted") and wave >= 0:
            ends.setdefault(wave, event.at)
    return ends


def _steps(events: Sequence[Event], release: str) -> list[Event]:
    return sorted((event for event in events if _is_step(event, release)), key=lambda event: event.id)


def _is_step(event: Event, release: str) -> bool:
    return event.kind.startswith(UPDATE) and event.data.get("release") == release
