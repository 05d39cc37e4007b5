import math

import pytest

from cloud.models.gates import Bar, Reason, Scores, Tally, judge

FLOAT, INT8 = "cpu-fp32.onnx", "cpu-int8.onnx"


def tally(correct: int, *, examples: int = 1000, agreed: int = 1000, **counts: tuple[int, ...]) -> Tally:
    return Tally(correct=correct, examples=examples, agreed=agreed, **counts)


def scores(
    *, fp32: Tally | None = None, int8: Tally | None = None, champion: Tally | None = None, parity: float = 0.0
) -> Scores:
    fp32, int8 = fp32 or tally(900), int8 or tally(895, agreed=985)
    return Scores(training=tally(900), variants={FLOAT: fp32, INT8: int8}, champion=champion, parity=parity)


def test_a_good_candidate_is_released_with_both_files() -> None:
    verdict = judge(scores(champion=tally(880)), Bar(accuracy=0.8), baseline=FLOAT)
    assert verdict.admitted == (FLOAT, INT8)
    assert verdict.release
    assert not verdict.refused
    assert verdict.evaluation["accuracy.cpu-int8.onnx"] == 0.895
    assert verdict.evaluation["agreement.cpu-int8.onnx"] == 0.985
    assert verdict.evaluation["accuracy.champion"] == 0.88


@pytest.mark.parametrize(
    ("measured", "reason"),
    [
        (scores(fp32=tally(799)), Reason.TOO_WEAK),
        (scores(fp32=tally(49, examples=49)), Reason.TOO_FEW_EXAMPLES),
        (scores(fp32=Tally()), Reason.TOO_FEW_EXAMPLES),
        (scores(parity=1.1e-3), Reason.NOT_THE_TRAINED_MODEL),
        (scores(parity=math.nan), Reason.NOT_THE_TRAINED_MODEL),
        (scores(champion=tally(921)), Reason.WORSE_THAN_CHAMPION),
        (scores(fp32=tally(900, found=(890, 10), present=(900, 100))), Reason.CLASS_LOST),
    ],
)
def test_a_weak_candidate_brings_down_all_its_files(measured: Scores, reason: Reason) -> None:
    verdict = judge(measured, Bar(accuracy=0.8, recall=0.2), baseline=FLOAT)
    assert not verdict.release
    assert {refusal.reason for refusal in verdict.refused.values()} == {reason}
    assert verdict.refused.keys() == {FLOAT, INT8}


@pytest.mark.parametrize(
    ("int8", "reason"),
    [
        (tally(879, agreed=985), Reason.LOSES_TOO_MUCH),
        (tally(900, agreed=969), Reason.DISAGREES),
        (tally(10, examples=10, agreed=10), Reason.NOT_MEASURED),
    ],
)
def test_a_bad_int8_file_stays_behind_alone(int8: Tally, reason: Reason) -> None:
    verdict = judge(scores(int8=int8), Bar(accuracy=0.8), baseline=FLOAT)
    assert verdict.admitted == (FLOAT,)
    assert verdict.refused[INT8].reason is reason
    assert INT8 in verdict.summary


@pytest.mark.parametrize("champion", [None, Tally(), tally(920), tally(100)])
def test_a_challenger_within_tolerance_passes(champion: Tally | None) -> None:
    assert judge(scores(champion=champion), Bar(accuracy=0.8), baseline=FLOAT).release


@pytest.mark.parametrize("variants", [{}, {INT8: tally(900)}])
def test_nothing_is_released_without_its_float_file(variants: dict[str, Tally]) -> None:
    verdict = judge(Scores(training=tally(900), variants=variants), Bar(), baseline=FLOAT)
    assert not verdict.release
    assert {refusal.reason for refusal in verdict.refused.values()} == {Reason.NOT_MEASURED}


def test_tallies_of_devices_add_up() -> None:
    first = Tally(correct=1, examples=2, agreed=2, found=(1, 0), present=(1, 1))
    second = Tally(correct=3, examples=4, agreed=3, found=(2, 1), present=(2, 2))
    both = Tally(correct=4, examples=6, agreed=5, found=(3, 1), present=(3, 3))
    assert first.add(second) == both == second.add(first)
    assert Tally().add(first) == first
