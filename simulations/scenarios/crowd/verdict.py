"""From what was measured to what the report says: pure functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from shared import api
from shared.topics import Up
from simulations.scenarios.crowd.crowd import Answered
from simulations.scenarios.crowd.plan import THIRD, TOLERATED
from simulations.scenarios.crowd.record import Arrivals, Breach, Latency
from simulations.scenarios.rollout.record import Check

P99_MS = 200.0
BUSY_S = 10


def latency_of(answered: Sequence[Answered]) -> Latency:
    """How long status updates waited for their acknowledgement."""
    took = sorted(each.seconds * 1e3 for each in answered if each.channel is Up.UPDATE)
    if not took:
        return Latency(batches=0, p50_ms=0.0, p99_ms=0.0, most_ms=0.0)
    return Latency(batches=len(took), p50_ms=_quantile(took, 0.50), p99_ms=_quantile(took, 0.99), most_ms=took[-1])


def arrivals_of(answered: Sequence[Answered]) -> Arrivals:
    """How many batches came a second, on the whole and at worst."""
    if not answered:
        return Arrivals(mean=0.0, busiest=0.0)
    counts = Counter(int(each.at) for each in answered)
    first, last = min(counts), max(counts)
    sums = [sum(counts[second + step] for step in range(BUSY_S)) for second in range(first, last + 1)]
    return Arrivals(mean=len(answered) / (last - first + 1), busiest=max(sums) / BUSY_S)


def breach_of(
    events: Sequence[api.Event], *, rollout: str, release: str, waves: Sequence[Sequence[str]], failing: int
) -> Breach:
    """What happened in the third wave once too much had failed.

    Args:
        events: `rollout.*` and `update.rolled-back`, in their order.
        rollout: its id.
        release: of the rollout.
        waves: its devices.
        failing: how many of the third wave the release breaks on.
    """
    third = set(waves[THIRD])
    tolerated = int(TOLERATED * len(third))
    failed = [e for e in events if e.kind == "update.rolled-back" and e.data["release"] == release]
    fatal = failed[tolerated] if len(failed) > tolerated else None
    asked = [(e.id, e.data) for e in events if e.kind == "rollout.wave" and e.subject == rollout]
    halt = next((e for e in events if e.kind == "rollout.halted" and e.subject == rollout), None)
    here = [(number, data["devices"]) for number, data in asked if data["wave"] == THIRD]
    return Breach(
        wave=THIRD + 1,
        devices=len(third),
        failing=failing,
        tolerated=tolerated,
        failed=len(failed),
        asked_before=sum(len(names) for number, names in here if fatal is None or number < fatal.id),
        asked_after=sum(len(names) for number, names in here if fatal is not None and number > fatal.id),
        later=sum(len(data["devices"]) for _, data in asked if data["wave"] > THIRD),
        halted_after_s=halt.at - fatal.at if halt is not None and fatal is not None else -1.0,
    )


def checks_of(
    *,
    devices: int,
    states: Sequence[str],
    reached: int,
    breach: Breach,
    latency: Latency,
    serving: Mapping[str, int],
    promoted: Sequence[str],
    unanswered: int,
) -> list[Check]:
    """What must hold.

    Args:
        devices: how many there are.
        states: in which the two rollouts ended.
        reached: devices on which the first release was active.
        breach: of the second rollout.
        latency: of all status updates.
        serving: release → devices at the end.
        promoted: the first release, and the one that brought its bytes back.
        unanswered: batches without an acknowledgement.
    """
    right = sum(serving.get(release, 0) for release in promoted)
    return [
        _check(
            "the first release reached everybody", states[0] == "done" and reached == devices, f"{states[0]}, {reached}"
        ),
        _check(
            "the second one was halted in its third wave",
            states[1] == "halted" and breach.later == 0,
            f"{states[1]}, {breach.later} devices of later waves were asked",
        ),
        _check(
            "nobody was asked after the breach",
            breach.asked_after == 0 and breach.failed > breach.tolerated,
            f"{breach.asked_before} of {breach.devices} before it, {breach.asked_after} after it, halted after "
            f"{breach.halted_after_s:.2f} s; {breach.failed} failed, {breach.tolerated} tolerated",
        ),
        _check(
            f"99 of 100 status updates acknowledged within {P99_MS:.0f} ms",
            0 < latency.p99_ms < P99_MS,
            f"p50 {latency.p50_ms:.1f} ms, p99 {latency.p99_ms:.1f} ms, most {latency.most_ms:.0f} ms, "
            f"{latency.batches} batches",
        ),
        _check("every device serves the first release's bytes", right == devices, f"{right} of {devices}"),
        _check("every word was acknowledged", unanswered == 0, f"{unanswered} were not"),
    ]


def _quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _check(name: str, held: bool, said: str) -> Check:
    return Check(name=name, held=held, said=said)
