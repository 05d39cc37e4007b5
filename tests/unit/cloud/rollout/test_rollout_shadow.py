"""Comparing before serving: what a wave must prove, and what happens when it cannot."""

import msgspec
import pytest

from cloud.rollout.advance import Report, View, advance
from cloud.rollout.desired import desired
from cloud.rollout.evidence import Evidence
from cloud.rollout.operate import admit, pause, resume, retarget, roll_back
from cloud.rollout.plan import plan
from cloud.rollout.sequential import Verdict
from cloud.rollout.spec import Abort, Budget, Gates, Margin, Mode, Shadow, Spec, Target, WaveSize, Window
from cloud.rollout.state import Ask, Complete, Finish, Halt, Open, Rollout, RolloutState, apply
from cloud.rollout.state import Shadow as Begin
from shared.bundle import Challenge
from shared.errors import RefusedError
from shared.messages import Stage

NAMES = ("a", "b", "c", "d")
SPEC = Spec(
    release="m-2",
    canaries=("a",),
    soak_s=10,
    deadline_s=100,
    shadow=Shadow(mode=Mode.SHADOW, least=200, within_s=1000),
    gates=Gates(accuracy=Margin(margin=0.05)),
)
GOOD = Evidence(inputs=2000, agreed=1950, both_right=1900, both_wrong=40, only_champion=30, only_challenger=30)
BAD = Evidence(inputs=2000, agreed=1700, both_right=1640, both_wrong=40, only_champion=260, only_challenger=60)
THIN = Evidence(inputs=300, agreed=290, both_right=30)


def rollout(spec=SPEC, *, previous="m-1", names=NAMES, **changes):
    base = Rollout(
        id="r1", fleet="lab", model="m", release="m-2", previous=previous, spec=spec, waves=plan(names, spec),
        created_at=0.0,
    )  # fmt: skip
    return msgspec.structs.replace(base, **changes)


def shadowing(**changes):
    return apply(rollout(**changes), Begin(0), at=0.0)


def said(**stages):
    return {device: Report(stage=stage, reason="why", asked_at=0.0) for device, stage in stages.items()}


def test_a_wave_is_shadowed_first_and_asked_once_its_gate_has_passed():
    assert advance(rollout(), View(), at=0.0) == [Begin(0)]
    assert advance(shadowing(), View(evidence={0: THIN}), at=50.0) == []
    opened, asked = advance(shadowing(), View(evidence={0: GOOD}), at=50.0)
    assert asked == Ask(("a",))
    assert isinstance(opened, Open)
    (proof,) = [proof for proof in opened.proofs if proof.gate == "accuracy"]
    assert (proof.verdict, proof.inputs) == (Verdict.NOT_WORSE, 2000)
    assert proof.not_worse > proof.needed > 3.0


def test_a_worse_challenger_halts_and_nobody_was_ever_asked():
    (halt,) = advance(shadowing(), View(evidence={0: BAD}), at=50.0)
    assert isinstance(halt, Halt)
    assert halt.reason.startswith("m-2 is worse: accuracy: measured -0.1 against -0.05 over 2000 inputs")
    after = apply(shadowing(), halt, at=50.0)
    assert (after.asked, after.proofs["0"]) == ((), halt.proofs)
    assert desired("lab", [after]).challengers == {}


def test_a_comparison_that_proves_nothing_in_its_time_halts():
    assert advance(shadowing(), View(evidence={0: THIN}), at=999.0) == []
    (halt,) = advance(shadowing(), View(evidence={0: THIN}), at=1000.0)
    assert "nothing was proven within 1000 s: accuracy" in halt.reason


def test_few_inputs_are_too_few_however_good():
    spec = msgspec.structs.replace(SPEC, gates=Gates())
    assert advance(shadowing(spec=spec), View(evidence={0: Evidence(inputs=199)}), at=5.0) == []
    assert advance(shadowing(spec=spec), View(evidence={0: Evidence(inputs=200)}), at=5.0)[1] == Ask(("a",))


def test_a_challenger_that_fails_on_a_device_halts_the_first_wave():
    view = View(evidence={0: GOOD}, reports=said(a=Stage.ROLLED_BACK))
    assert advance(shadowing(), view, at=5.0) == [Halt("a: rolled-back (why)")]


def test_the_first_release_has_nothing_to_be_compared_with():
    assert advance(rollout(previous=""), View(), at=0.0) == [Open(0), Ask(("a",))]


def test_other_waves_do_not_vote():
    assert advance(shadowing(), View(evidence={1: GOOD}), at=50.0) == []
    served = apply(apply(apply(shadowing(), Open(0), at=0.0), Ask(("a",)), at=0.0), Complete(0), at=0.0)
    view = View(evidence={0: GOOD}, reports=said(a=Stage.ACTIVE))
    assert advance(served, view, at=10.0) == [Begin(1)]


def test_challengers_are_signed_for_the_wave_and_asked_devices_leave_the_shadow():
    spec = msgspec.structs.replace(SPEC, canaries=("a", "b"), budget=Budget(devices=1, label="site"))
    begun = shadowing(spec=spec)
    mine = {"m": Challenge(release="m-2", rollout="r1", share=0.25)}
    assert desired("lab", [begun]).challengers == {"a": mine, "b": mine}
    view = View(evidence={0: GOOD}, places={"a": "hall", "b": "hall"})
    for action in advance(begun, view, at=5.0):
        begun = apply(begun, action, at=5.0)
    wanted = desired("lab", [begun])
    assert (wanted.devices, wanted.challengers) == ({"a": {"m": "m-2"}}, {"b": mine})


def test_a_place_has_no_more_unsettled_devices_than_its_budget():
    spec = Spec(release="m-2", waves=(WaveSize(percent=100),), budget=Budget(devices=2), abort=Abort(failed=0.5))
    places = {"a": "hall", "b": "hall", "c": "hall", "d": "yard"}
    opened, ask = advance(rollout(spec), View(places=places), at=0.0)
    assert (opened, ask) == (Open(0), Ask(("a", "b", "d")))
    now = apply(apply(rollout(spec), opened, at=0.0), ask, at=0.0)
    assert advance(now, View(places=places, reports=said(d=Stage.ACTIVE)), at=1.0) == []
    assert advance(now, View(places=places, reports=said(a=Stage.ACTIVE)), at=1.0) == [Ask(("c",))]


def test_who_is_asked_late_has_as_much_time_as_all_others():
    spec = Spec(release="m-2", waves=(WaveSize(percent=100),), budget=Budget(devices=1), deadline_s=100)
    hall = dict.fromkeys(NAMES, "hall")
    now = rollout(spec)
    for action in advance(now, View(places=hall), at=0.0):
        now = apply(now, action, at=0.0)
    view = View(places=hall, reports=said(a=Stage.ACTIVE))
    assert advance(now, view, at=500.0) == [Ask(("b",))]  # long after the wave opened


def test_a_budget_in_percent_is_at_least_one():
    spec = Spec(release="m-2", waves=(WaveSize(percent=100),), budget=Budget(percent=10))
    view = View(places=dict.fromkeys(NAMES, "hall"), members={"hall": 4})
    assert advance(rollout(spec), view, at=0.0)[1] == Ask(("a",))
    view = View(places=dict.fromkeys(NAMES, "hall"), members={"hall": 30})
    assert advance(rollout(spec), view, at=0.0)[1] == Ask(("a", "b", "c"))


NIGHT = (Window(start="22:00", end="05:00"),)
NOON, EVENING = 12 * 3600.0, 22 * 3600.0


def test_outside_of_its_windows_nobody_is_asked_but_what_was_asked_goes_on():
    spec = Spec(release="m-2", canaries=("a",), windows=NIGHT, soak_s=0)
    assert advance(rollout(spec), View(), at=NOON) == []
    assert advance(rollout(spec), View(), at=EVENING) == [Open(0), Ask(("a",))]
    asked = apply(apply(rollout(spec), Open(0), at=0.0), Ask(("a",)), at=0.0)
    assert advance(asked, View(reports=said(a=Stage.ACTIVE)), at=NOON)[0] == Complete(0)
    assert advance(asked, View(reports=said(a=Stage.ACTIVE)), at=NOON)[1:] == []


def test_a_pause_stops_waves_and_clocks_but_not_the_halt():
    begun = shadowing()
    held = pause(begun, at=10.0)
    assert pause(held, at=20.0) == held
    assert advance(held, View(evidence={0: GOOD}), at=5000.0) == []
    assert advance(held, View(reports=said(a=Stage.FAILED)), at=5000.0) == [Halt("a: failed (why)")]
    again = resume(held, at=5010.0)
    assert (again.shadow_at, again.paused_at) == (5000.0, None)
    assert resume(again, at=6000.0) == again
    assert advance(again, View(evidence={0: THIN}), at=5999.0) == []


def test_operators_roll_back_what_is_done_and_end_what_is_not():
    done = rollout(state=RolloutState.DONE, wave=1, asked=NAMES, done_at=50.0)
    back = msgspec.structs.replace(roll_back(done, reason="by alice", at=60.0), fallback="m-3")
    assert back.state is RolloutState.HALTED
    assert desired("lab", [back]).default == {"m": "m-3"}
    with pytest.raises(RefusedError, match="halted already"):
        roll_back(back, reason="again", at=61.0)
    with pytest.raises(RefusedError, match="first release"):
        roll_back(rollout(previous="", state=RolloutState.DONE, done_at=5.0), reason="", at=6.0)
    for step in (pause, resume):
        with pytest.raises(RefusedError, match="nothing to"):
            step(back, at=70.0)


def test_a_finished_rollout_for_some_says_nothing_of_the_others():
    spec = Spec(release="m-2", target=Target(devices=("a",)), soak_s=0)
    done = rollout(spec, names=("a",), state=RolloutState.DONE, wave=0, asked=("a",), done_at=5.0)
    assert desired("lab", [done]).for_device("a") == {"m": "m-2"}
    assert desired("lab", [done]).for_device("b") == {}


def test_nothing_is_in_progress_for_ever():
    spec = msgspec.structs.replace(SPEC, approvals=1, approve_within_s=50, finish_within_s=70)
    assert advance(rollout(spec), View(approved=False), at=49.0) == []
    assert advance(rollout(spec), View(approved=False), at=50.0) == [Halt("not approved within 50 s")]
    assert advance(shadowing(spec=spec), View(), at=70.0) == [Halt("not done within 70 s")]


def test_a_document_that_changed_after_its_approval_holds_the_rollout_wherever_it_is():
    unseen = View(evidence={0: GOOD}, approved=False)
    assert advance(shadowing(), unseen, at=50.0) == []
    served = said(a=Stage.ACTIVE)
    soaked = rollout(state=RolloutState.SOAKING, wave=0, asked=("a",), complete_at=0.0, opened_at=0.0)
    assert advance(soaked, View(reports=served, approved=False), at=500.0) == []
    assert advance(soaked, View(reports=served), at=500.0) == [Begin(1)]
    failed = View(reports=said(a=Stage.FAILED), approved=False)
    assert isinstance(advance(soaked, failed, at=500.0)[0], Halt)
    spec = msgspec.structs.replace(SPEC, finish_within_s=70)
    assert advance(shadowing(spec=spec), unseen, at=70.0) == [Halt("not done within 70 s")]


def test_who_is_asked_long_after_the_wave_opened_has_the_whole_deadline():
    spec = msgspec.structs.replace(SPEC, canaries=(), waves=(WaveSize(percent=100),), budget=Budget(devices=1))
    opened = rollout(spec, state=RolloutState.OPEN, wave=0, asked=("a",), opened_at=0.0)
    view = View(reports=said(a=Stage.ACTIVE), places=dict.fromkeys(NAMES, "=bonn"))
    assert advance(opened, view, at=150.0) == [Ask(("b",))]


def test_a_release_that_is_never_published_ends_its_rollout():
    spec = msgspec.structs.replace(SPEC, approve_within_s=50)
    assert advance(rollout(spec), View(published=False), at=49.0) == []
    assert advance(rollout(spec), View(published=False), at=50.0) == [Halt("not published within 50 s")]


def test_a_changed_plan_may_ask_for_no_comparison_any_more():
    spec = msgspec.structs.replace(SPEC, shadow=Shadow())
    changed = retarget(shadowing(), spec, NAMES)
    assert advance(changed, View(), at=1.0) == [Open(0), Ask(("a",))]


def test_who_was_away_when_its_wave_was_asked_comes_with_the_last():
    spec = Spec(release="m-2", waves=(WaveSize(count=2), WaveSize(count=3)), soak_s=10)
    now = rollout(spec)
    for action in advance(now, View(excused={"b"}), at=0.0):
        now = apply(now, action, at=0.0)
    assert (now.asked, admit(now, NAMES)) == (("a",), now)  # the wave is still open, so it is asked at once
    (complete,) = advance(now, View(excused={"b"}, reports=said(a=Stage.ACTIVE)), at=1.0)
    now = apply(now, complete, at=1.0)
    back = admit(now, NAMES)
    assert [wave.devices for wave in back.waves] == [("a",), ("c",), ("d", "b")]
    assert admit(back, NAMES) == back


def test_late_comers_and_changed_plans():
    grown = admit(rollout(), ["a", "x"])
    assert grown.waves[-1].devices == ("b", "c", "d", "x")
    assert admit(grown, ["x"]) is grown
    other = retarget(shadowing(), msgspec.structs.replace(SPEC, canaries=(), soak_s=3), ["a", "b"])
    assert [wave.devices for wave in other.waves] == [("a",), ("b",)]
    assert (other.waves[0].soak_s, other.waves[1].soak_s) == (10, 3)


def test_a_good_rollout_reaches_everybody():
    now, order, at = rollout(), [], 0.0
    while now.state is not RolloutState.DONE:
        stages = said(**dict.fromkeys(now.asked, Stage.ACTIVE))
        actions = advance(now, View(reports=stages, evidence=dict.fromkeys((0, 1), GOOD)), at=at)
        for action in actions:
            now = apply(now, action, at=at)
        order += [type(action) for action in actions]
        at += 5.0
    assert order == [Begin, Open, Ask, Complete, Begin, Open, Ask, Complete, Finish]
    assert set(now.proofs) == {"0", "1"}
