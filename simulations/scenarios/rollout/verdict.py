"""Was everything seen that must be? Pure functions of what the coordinator said."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from shared import api
from shared.insight import InferenceView
from simulations.scenarios.rollout import record
from simulations.scenarios.rollout.acts import BUDGET, Act
from simulations.scenarios.rollout.record import Check

NOT_WORSE, WORSE = "not worse", "worse"


def checks_of(act: Act, seen: record.Act, *, devices: Collection[str], canaries: Collection[str]) -> list[Check]:
    """What must hold of one act."""
    checks = [
        _check(
            "ended as it had to", seen.state == act.ends, f"{seen.state}: {seen.reason}" if seen.reason else seen.state
        ),
        _check(
            "no site over its budget",
            bool(seen.busiest) and max(seen.busiest.values()) <= BUDGET,
            ", ".join(f"{site} {most}" for site, most in seen.busiest.items()),
        ),
        _check(
            "promoted releases answered everywhere, without an error",
            act.name == "first" or (not seen.idle and seen.champion_errors == 0),
            f"{seen.champion_inputs} inputs, {seen.champion_errors} errors, {len(seen.idle)} devices without an answer",
        ),
    ]
    return checks + (_good(act, seen, devices) if act.good else _bad(act, seen, canaries))


def _good(act: Act, seen: record.Act, devices: Collection[str]) -> list[Check]:
    active = sum(wave.active for wave in seen.waves)
    checks = [
        _check("active on every device", active == len(devices), f"{active} of {len(devices)}"),
        _check("in waves", len(seen.waves) == 3, f"of {', '.join(str(wave.devices) for wave in seen.waves)} devices"),
    ]
    if act.compared:
        proven = [gate.verdict == NOT_WORSE for wave in seen.waves for gate in wave.gates]
        count = f"{sum(proven)} of {len(proven)} gates of {len(seen.waves)} waves"
        checks.append(_check("each wave proven not worse", len(proven) >= 3 and all(proven), count))
    return checks


def _bad(act: Act, seen: record.Act, canaries: Collection[str]) -> list[Check]:
    strangers = sorted(set(seen.reached) - set(canaries))
    later = sum(wave.asked for wave in seen.waves[1:])
    said = f"{len(seen.reached)} devices, all of them canaries" if not strangers else f"also {', '.join(strangers)}"
    checks = [
        _check("nobody but canaries ever saw it", bool(seen.reached) and not strangers and not later, said),
        _check("halted for the right reason", act.proof in seen.reason, seen.reason),
    ]
    if act.compared:
        served = seen.waves[0].active + sum(wave.asked for wave in seen.waves)
        checks.append(_check("it never served", served == 0, f"{served} devices were asked to let it"))
    else:
        checks.append(_check("brought back by a release of the former bytes", bool(seen.fallback), seen.fallback))
    return checks


def serves(devices: Sequence[api.Device], model: str) -> dict[str, str]:
    """Device → release of `model` that it last reported active."""
    return {device.id: each.serving for device in devices for each in device.models if each.model == model}


def answered(
    before: Sequence[InferenceView], after: Sequence[InferenceView], *, releases: Collection[str]
) -> dict[str, tuple[int, int]]:
    """Device → (inputs answered, errors) of `releases` between two readings."""
    counts: dict[str, tuple[int, int]] = {}
    for sign, views in ((-1, before), (1, after)):
        for view in views:
            if view.release in releases:
                done, wrong = counts.get(view.device, (0, 0))
                counts[view.device] = (done + sign * view.processed, wrong + sign * view.errors)
    return counts


def at_the_end(
    *,
    served: Mapping[str, str],
    digests: Mapping[str, str],
    good: str,
    devices: int,
    delivery: api.Delivery,
    written: int,
) -> list[Check]:
    """What must hold of the whole story.

    Args:
        served: device → release.
        digests: release → digest of its model file.
        good: the release that should be everywhere.
        devices: how many there are.
        delivery: records as the coordinator counts them.
        written: records as the devices' outboxes count them.
    """
    right = [device for device, release in served.items() if digests.get(release) == digests[good]]
    lost = written - delivery.stored + delivery.duplicated
    return [
        _check(
            "every device serves the good release's bytes",
            len(right) == devices,
            f"{len(right)} of {devices}, by {', '.join(sorted(set(served.values())))}",
        ),
        _check(
            "no record lost, none twice",
            lost == 0 and delivery.duplicated == 0 and written > 0,
            f"{written} written, {delivery.stored} stored, {delivery.duplicated} twice",
        ),
    ]


def _check(name: str, held: bool, said: str) -> Check:
    return Check(name=name, held=held, said=said)
