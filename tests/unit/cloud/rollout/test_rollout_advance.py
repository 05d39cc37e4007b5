"""Each situation of a rollout, and what is due then."""

import msgspec
import pytest

from cloud.rollout.advance import Report, View, advance
from cloud.rollout.desired import desired
from cloud.rollout.plan import Wave, join, plan, replan
from cloud.rollout.spec import Abort, Growth, Spec, WaveSize
from cloud.rollout.state import Ask, Complete, Finish, Halt, Open, Rollout, RolloutState, apply, supersede
from shared.errors import RefusedError
from shared.messages import Stage

WAVES = (
    Wave(devices=("a",), soak_s=10, deadline_s=100),
    Wave(devices=("b", "c", "d"), soak_s=5, deadline_s=100, tolerated=1),
)


def rollout(**changes):
    base = Rollout(
        id="r1", fleet="lab", model="activity", release="activity-2", previous="activity-1", waves=WAVES, created_at=0.0
    )
    grown = msgspec.structs.replace(base, **changes)
    return grown if "asked" in changes else msgspec.structs.replace(grown, asked=grown.reached)


def said(**stages):
    return {device: Report(stage=stage, reason="why") for device, stage in stages.items()}


OPEN, SOAKING = RolloutState.OPEN, RolloutState.SOAKING
CANARY = {"state": OPEN, "wave": 0, "opened_at": 0.0}
CANARY_SOAKS = {"state": SOAKING, "wave": 0, "opened_at": 0.0, "complete_at": 20.0}
SECOND = {"state": OPEN, "wave": 1, "opened_at": 30.0}
GOOD = {"a": Stage.ACTIVE}


@pytest.mark.parametrize(
    ("state", "stages", "at", "due"),
    [
        ({}, {}, 0, [Open(0), Ask(("a",))]),
        (CANARY, {}, 50, []),
        (CANARY, {"a": Stage.TRIAL}, 50, []),
        (CANARY, GOOD, 50, [Complete(0)]),
        (CANARY, {"a": Stage.FAILED}, 50, [Halt("a: failed (why)")]),
        (CANARY, {"a": Stage.REFUSED}, 50, [Halt("a: refused (why)")]),
        (CANARY, {"a": Stage.ROLLED_BACK}, 50, [Halt("a: rolled-back (why)")]),
        (CANARY, {"a": Stage.DOWNLOADING}, 100, [Halt("a did not settle within 100 s")]),
        (CANARY, {"b": Stage.FAILED}, 50, []),  # not asked yet
        (CANARY_SOAKS, GOOD, 29, []),
        (CANARY_SOAKS, GOOD, 30, [Open(1), Ask(("b", "c", "d"))]),
        (
            CANARY_SOAKS,
            GOOD,
            500,
            [Open(1), Ask(("b", "c", "d"))],
        ),  # the wave's deadline was met; a late turn is no failure
        (CANARY_SOAKS, {"a": Stage.ROLLED_BACK}, 25, [Halt("a: rolled-back (why)")]),
        (SECOND, GOOD | {"b": Stage.ACTIVE, "c": Stage.ACTIVE}, 40, []),
        (SECOND, GOOD | {"b": Stage.ACTIVE, "c": Stage.ACTIVE, "d": Stage.FAILED}, 40, [Complete(1)]),
        (SECOND, GOOD | {"b": Stage.FAILED, "c": Stage.FAILED}, 40, [Halt("b: failed (why)")]),
        (SECOND, GOOD | {"b": Stage.ACTIVE, "c": Stage.ACTIVE}, 130, [Complete(1)]),  # one laggard is tolerated
        (SECOND, GOOD | {"b": Stage.ACTIVE}, 130, [Halt("c did not settle within 100 s")]),
        (SECOND, {"a": Stage.ROLLED_BACK}, 40, [Halt("a: rolled-back (why)")]),  # a canary is watched to the end
        ({"state": SOAKING, "wave": 1, "opened_at": 30.0, "complete_at": 50.0}, GOOD, 55, [Finish()]),
        ({"state": RolloutState.DONE}, {"a": Stage.FAILED}, 999, []),
        ({"state": RolloutState.HALTED}, GOOD, 999, []),
        ({"state": RolloutState.SUPERSEDED}, GOOD, 999, []),
    ],
)
def test_what_is_due(state, stages, at, due):
    assert advance(rollout(**state), View(reports=said(**stages)), at=at) == due


def test_without_soaking_all_that_is_due_comes_at_once():
    quick = tuple(msgspec.structs.replace(wave, soak_s=0) for wave in WAVES)
    everybody = said(a=Stage.ACTIVE, b=Stage.ACTIVE, c=Stage.ACTIVE, d=Stage.ACTIVE)
    due = advance(rollout(waves=quick), View(reports=everybody), at=1.0)
    assert due == [Open(0), Ask(("a",)), Complete(0), Open(1), Ask(("b", "c", "d")), Complete(1), Finish()]


def test_a_device_that_left_holds_nobody_up():
    assert advance(rollout(**CANARY), View(excused={"a"}), at=50) == [Complete(0)]


def test_desired_follows_the_rollouts():
    first = rollout(id="r0", release="activity-1", previous="", state=RolloutState.DONE, wave=1, done_at=9.0)
    assert desired("lab", [first]).for_device("c") == {"activity": "activity-1"}
    canary = desired("lab", [first, rollout(**CANARY)])
    assert canary.for_device("a") == {"activity": "activity-2"}
    assert canary.for_device("b") == {"activity": "activity-1"}
    halted = rollout(state=RolloutState.HALTED, wave=0, fallback="activity-3")
    assert desired("lab", [first, halted]).for_device("a") == {"activity": "activity-3"}
    assert desired("lab", [first, halted]).for_device("b") == {"activity": "activity-1"}
    done = rollout(state=RolloutState.DONE, wave=1, done_at=9.0)
    assert desired("lab", [first, halted, done]).devices == {}
    assert desired("lab", [first, halted, done]).default == {"activity": "activity-2"}


def test_a_superseded_rollout_does_not_take_back_what_it_offered():
    first = rollout(id="r0", release="activity-1", previous="", state=RolloutState.DONE, wave=1, done_at=9.0)
    old = supersede(rollout(**CANARY), by="r2", at=5.0)
    newer = rollout(id="r2", release="activity-3", state=RolloutState.PENDING)
    assert desired("lab", [first, old, newer]).for_device("a") == {"activity": "activity-2"}
    opened = apply(apply(newer, Open(0), at=6.0), Ask(("a",)), at=6.0)
    assert desired("lab", [first, old, opened]).for_device("a") == {"activity": "activity-3"}


def test_a_failed_first_release_leaves_its_canaries_with_none():
    halted = rollout(previous="", state=RolloutState.HALTED, wave=0)
    assert desired("lab", [halted]).for_device("a") == {"activity": ""}
    assert desired("lab", [halted]).for_device("b") == {}


def shares(*values):
    return tuple(WaveSize(percent=value) for value in values)


def test_plans_cut_the_fleet_into_waves():
    spec = Spec(release="m-1", canaries=("c",), waves=shares(50, 100), abort=Abort(failed=0.5))
    waves = plan(["d", "c", "b", "a", "e"], spec)
    assert [wave.devices for wave in waves] == [("c",), ("a", "b"), ("d", "e")]
    assert [wave.tolerated for wave in waves] == [0, 1, 1]
    assert [wave.devices for wave in plan(["b", "a"], Spec(release="m-1"))] == [("a",), ("b",)]
    assert [wave.devices for wave in plan(["a"], Spec(release="m-1"))] == [("a",)]
    assert plan([], Spec(release="m-1")) == ()


def test_the_first_wave_tolerates_no_failure_whatever_it_is():
    waves = plan(list("abcdef"), Spec(release="m-1", waves=shares(50), abort=Abort(failed=0.5)))
    assert [(len(wave.devices), wave.tolerated) for wave in waves] == [(3, 0), (3, 1)]


@pytest.mark.parametrize(
    ("count", "growth", "sizes"),
    [
        (15, Growth(first=1, factor=2), [1, 2, 4, 8]),
        (10, Growth(first=3, factor=1), [3, 3, 3, 1]),
        (9, Growth(first=2, factor=1.5), [2, 3, 4]),
        (1, Growth(first=5, factor=2), [1]),
    ],
)
def test_waves_can_grow(count, growth, sizes):
    waves = plan([f"d{n:03}" for n in range(count)], Spec(release="m-1", growth=growth))
    assert [len(wave.devices) for wave in waves] == sizes


def test_a_canary_that_is_no_device_is_refused():
    with pytest.raises(RefusedError, match="canary 'z'"):
        plan(["a", "b"], Spec(release="m-1", canaries=("z",)))


def test_late_comers_come_with_the_last_wave_or_after_it():
    spec = Spec(release="m-1", canaries=("a",), waves=shares(50))
    waves = plan(list("abcde"), spec)
    assert [wave.devices for wave in join(waves, ["x"], spec, opened=0)] == [("a",), ("b", "c"), ("d", "e", "x")]
    assert [wave.devices for wave in join(waves, ["x"], spec, opened=2)][3:] == [("x",)]
    assert join(waves, [], spec, opened=2) == waves


def test_a_changed_plan_touches_only_what_has_not_begun():
    spec = Spec(release="m-1", canaries=("a",), waves=shares(50))
    waves = plan(list("abcde"), spec)
    again = replan(waves, list("bcdef"), Spec(release="m-1", waves=shares(25, 100)), opened=0)
    assert [wave.devices for wave in again] == [("a",), ("b",), ("c", "d", "e", "f")]
