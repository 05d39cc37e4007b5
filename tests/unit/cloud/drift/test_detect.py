"""Folding drift reports into scores and alarms, over reports made by the edge's own sketches."""

import msgspec
import numpy as np
import pytest

from cloud.drift.detect import DriftState, Score, compare, observe
from cloud.drift.policy import Policy
from cloud.drift.summary import Summary, merge
from shared.errors import ContractError
from shared.messages import DriftReport
from shared.sketch import Sketch

START = DriftState(device="d", model="toy", release="toy-1")
POLICY = Policy()


def report(rng: np.random.Generator, count: int = 120, *, shift: float = 0.0, **fields: object) -> DriftReport:
    """Twelve features, half of which move with `shift` (in standard deviations)."""
    features = {f"f{i:02}": Sketch(rng.normal(shift if i < 6 else 0.0, size=count)).to_bytes() for i in range(12)}
    plain = DriftReport(
        pipeline="p",
        model="toy",
        release="toy-1",
        since=0.0,
        until=1.0,
        count=count,
        features=features,
        confidence=Sketch(rng.beta(8, 1 + shift, size=count)).to_bytes(),
        classes={"a": count},
    )
    return msgspec.structs.replace(plain, **fields)


def fold(*reports: DriftReport, state: DriftState = START, policy: Policy = POLICY) -> tuple[DriftState, list[Score]]:
    scores = []
    for each in reports:
        state, score = observe(state, each, policy)
        scores += [score] if score else []
    return state, scores


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def test_without_a_reference_nothing_is_judged(rng: np.random.Generator) -> None:
    state, scores = fold(*(report(rng, shift=3) for _ in range(5)))
    assert scores == []
    assert not state.drifted
    state, scores = fold(report(rng, 500, reference=True), state=state)
    assert scores == []
    state, scores = fold(report(rng, shift=3), state=state)
    assert len(scores) == 1


@pytest.mark.parametrize("count", [50, 100, 200])
def test_inputs_like_the_reference_raise_no_alarm(rng: np.random.Generator, count: int) -> None:
    state, scores = fold(report(rng, 500, reference=True), *(report(rng, count) for _ in range(40)))
    assert len(scores) > 15
    assert max(score.value for score in scores) < POLICY.clear
    assert not state.drifted


@pytest.mark.parametrize("count", [50, 100, 200])
def test_shifted_inputs_raise_an_alarm_after_two_windows(rng: np.random.Generator, count: int) -> None:
    shifted = [report(rng, count, shift=1.5, until=float(i)) for i in range(1, 8)]
    state, scores = fold(report(rng, 500, reference=True), *shifted)
    assert min(score.value for score in scores) > POLICY.threshold
    assert state.drifted
    first = next(i for i in range(1, 8) if i * count >= POLICY.least)
    assert state.since == first + 1
    assert set(list(scores[0].features)[:6]) == {f"f{i:02}" for i in range(6)}


def test_one_shifted_window_is_no_alarm(rng: np.random.Generator) -> None:
    usual = [report(rng) for _ in range(3)]
    state, scores = fold(report(rng, 500, reference=True), *usual, report(rng, shift=3), *usual)
    assert max(score.value for score in scores) > 1
    assert not state.drifted
    assert state.shifted == 0


def test_an_alarm_clears_only_after_usual_windows_in_a_row(rng: np.random.Generator) -> None:
    state, _ = fold(report(rng, 500, reference=True), report(rng, shift=3), report(rng, shift=3, until=9.0))
    assert (state.drifted, state.since) == (True, 9.0)
    state, _ = fold(report(rng, until=10.0), state=state)
    assert (state.drifted, state.since) == (True, 9.0)
    state, _ = fold(report(rng, shift=3), report(rng, until=10.0), state=state)
    assert state.drifted
    state, _ = fold(report(rng), state=state)
    assert (state.drifted, state.since) == (False, 0.0)


def test_between_the_bars_nothing_changes() -> None:
    policy = Policy(threshold=1.0, clear=0.0, persistence=1)
    rng = np.random.default_rng(0)
    state, _ = fold(report(rng, 500, reference=True), report(rng, shift=3), policy=policy)
    assert state.drifted
    state, scores = fold(report(rng, shift=0.8), state=state, policy=policy)
    assert 0 < scores[0].value < 1
    assert state.drifted


def test_small_windows_are_merged_until_they_hold_enough(rng: np.random.Generator) -> None:
    state, scores = fold(report(rng, 500, reference=True), *(report(rng, 40) for _ in range(5)))
    assert [score.count for score in scores] == [120, 120, 120]
    assert len(state.recent) == 3


def test_memory_is_bounded_however_small_the_windows(rng: np.random.Generator) -> None:
    state, scores = fold(report(rng, 500, reference=True), *(report(rng, 2) for _ in range(30)))
    assert scores == []
    assert len(state.recent) == POLICY.memory


def test_a_fleets_reference_serves_a_device_without_one(rng: np.random.Generator) -> None:
    fleet = merge([Summary.of(report(rng, 300, reference=True)) for _ in range(3)])
    assert fleet.count == 900
    state, score = observe(START, report(rng, shift=3), POLICY, fallback=fleet)
    assert score is not None
    assert score.value > POLICY.threshold
    assert state.reference is None


def test_the_models_own_doubt_counts(rng: np.random.Generator) -> None:
    reference = Summary.of(report(rng, 500))
    live = Summary.of(report(rng, 200, confidence=Sketch(rng.uniform(0.3, 0.6, size=200)).to_bytes()))
    score = compare(reference, live, POLICY)
    assert score.inputs < 0.1
    assert score.value == pytest.approx(score.inputs + POLICY.confidence * score.confidence)
    assert score.confidence > 1


def test_another_mix_of_activities_is_shown_and_no_drift(rng: np.random.Generator) -> None:
    reference = Summary.of(report(rng, 500))
    score = compare(reference, Summary.of(report(rng, 200, classes={"b": 200})), POLICY)
    assert score.classes > 1
    assert score.value < POLICY.threshold


@pytest.mark.parametrize(
    "fields",
    [
        {"release": "toy-2"},
        {"model": "other"},
        {"features": {}},
        {"features": {"f": b"junk"}},
        {"features": {f"f{i}": Sketch([1.0]).to_bytes() for i in range(65)}},
        {"confidence": b"\x00" * 40},
    ],
)
def test_a_report_that_breaks_the_contract_is_refused(rng: np.random.Generator, fields: dict[str, object]) -> None:
    with pytest.raises(ContractError):
        observe(START, report(rng, **fields), POLICY)


def test_counts_that_a_device_claims_are_not_believed(rng: np.random.Generator) -> None:
    summary = Summary.of(msgspec.structs.replace(report(rng, 20), count=10**9, classes={"a": -5, "b": 3}))
    assert summary.count == 20
    assert summary.classes == {"b": 3}


def test_features_that_only_one_side_has_are_left_out(rng: np.random.Generator) -> None:
    reference, live = Summary.of(report(rng, 500)), Summary.of(report(rng, 200, shift=3))
    renamed = msgspec.structs.replace(live, features={"other": live.features["f00"], "f11": live.features["f11"]})
    assert list(compare(reference, renamed, POLICY).features) == ["f11"]
    assert compare(reference, msgspec.structs.replace(live, features={}), POLICY).inputs == 0


def test_a_state_survives_storage(rng: np.random.Generator) -> None:
    state, _ = fold(report(rng, 500, reference=True), report(rng, shift=3))
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=DriftState) == state
