import pytest

from cloud.drift.detect import DriftState
from cloud.drift.retrain import RetrainDecision, RetrainPolicy, decide

POLICY = RetrainPolicy(devices=1, labels=50, patience_s=600, cooldown_s=900)
AT = 10_000.0


def state(device: str, *, drifted: bool = True, since: float = AT - 60) -> DriftState:
    return DriftState(device=device, model="toy", release="toy-1", drifted=drifted, since=since if drifted else 0.0)


def ask(*states: DriftState, held: dict[str, int], policy: RetrainPolicy = POLICY, **known: object) -> RetrainDecision:
    return decide(states, held, policy, at=AT, **known)  # type: ignore[arg-type]  # by name


def test_drifted_devices_with_labels_start_a_run() -> None:
    decision = ask(state("b"), state("a"), state("c", drifted=False), held={"a": 50, "b": 70, "c": 90})
    assert decision.start
    assert (decision.devices, decision.waiting, decision.labels) == (["a", "b"], [], {"a": 50, "b": 70})


def test_without_drift_there_is_no_run_however_many_labels() -> None:
    decision = ask(state("a", drifted=False), held={"a": 500})
    assert (decision.start, decision.reason) == (False, "no device has drifted")


@pytest.mark.parametrize("held", [{}, {"a": 49}])
def test_without_labels_there_is_nothing_to_learn_from(held: dict[str, int]) -> None:
    decision = ask(state("a"), held=held)
    assert not decision.start
    assert decision.waiting == ["a"]
    assert "labels" in decision.reason


def test_a_run_waits_for_the_labels_of_all_but_not_for_ever() -> None:
    held = {"a": 60, "b": 10}
    early = ask(state("a"), state("b"), held=held)
    assert (early.start, early.reason) == (False, "waiting for labels on b")
    late = ask(state("a", since=AT - 600), state("b"), held=held)
    assert late.start
    assert (late.devices, late.waiting) == (["a"], ["b"])


def test_a_run_needs_as_many_devices_as_the_policy_says() -> None:
    policy = RetrainPolicy(devices=2, labels=50)
    assert not ask(state("a"), held={"a": 60}, policy=policy).start
    assert ask(state("a"), state("b"), held={"a": 60, "b": 60}, policy=policy).start


@pytest.mark.parametrize(("last", "starts"), [(AT - 899, False), (AT - 900, True), (None, True)])
def test_runs_keep_their_distance(last: float | None, starts: bool) -> None:
    assert ask(state("a"), held={"a": 60}, last_run=last).start is starts


def test_no_run_while_one_is_under_way() -> None:
    decision = ask(state("a"), held={"a": 60}, running=True)
    assert (decision.start, decision.reason) == (False, "a run or its rollout is under way")
