"""Paired counts: what two releases said of the same inputs."""

import pytest

from edge.pipelines.answer import Answer
from edge.pipelines.budget import BURST_S, Budget
from edge.pipelines.comparison import Comparison, Pair, Side, same, step_of
from edge.pipelines.shadow import is_challengers
from shared.sketch import Sketch

PAIR, NEXT = Pair("toy-1", "toy-2"), Pair("toy-2", "toy-3")


def says(index: int, confidence: float = 0.9) -> Answer:
    return Answer(labels=(("low", "high")[index],), confidence=confidence, index=index)


def finds(*labels: str) -> Answer:
    return Answer(labels=labels, confidence=0.5)


def side(*answers: Answer | None, took_ms: float = 1.0) -> Side:
    return Side(answers=answers, took_ms=took_ms)


def compare(comparison: Comparison, champion: Side, challenger: Side, *, pair: Pair = PAIR, start: int = 0) -> None:
    names = [f"s:{start + index}" for index in range(len(champion.answers))]
    comparison.answered(pair, names, champion=champion, challenger=challenger, at=10.0)


@pytest.fixture
def comparison() -> Comparison:
    return Comparison(pipeline="p", model="toy", capacity=4)


def test_a_batch_is_counted_input_by_input(comparison: Comparison) -> None:
    champion = side(says(0, 0.9), says(1, 0.6), says(1), None, None, took_ms=2.0)
    compare(comparison, champion, side(says(0, 0.74), says(0, 0.65), None, says(1), None, took_ms=8.0))
    (report,) = comparison.flush(at=20.0, temperature_c=61.5)
    assert (report.pipeline, report.model, report.champion, report.release) == ("p", "toy", "toy-1", "toy-2")
    assert (report.since, report.until) == (10.0, 20.0)
    assert (report.inputs, report.agreed, report.errors, report.champion_errors) == (2, 1, 1, 1)
    assert report.confidence == {-4: 1, 1: 1}
    assert (report.classes, report.champion_classes) == ({"low": 2}, {"low": 1, "high": 1})
    assert Sketch.from_bytes(report.latency_ms).quantile(0.5) == 8.0
    assert Sketch.from_bytes(report.champion_latency_ms).quantile(0.5) == 2.0
    assert report.temperature_c == 61.5
    assert comparison.flush(at=30.0) == []


def test_a_challenger_that_answers_nothing_has_errors_and_no_latency(comparison: Comparison) -> None:
    compare(comparison, side(says(0), says(1)), side(None, None))
    (report,) = comparison.flush(at=20.0)
    assert (report.inputs, report.errors, report.latency_ms) == (0, 2, b"")


def test_a_report_never_spans_two_pairs(comparison: Comparison) -> None:
    compare(comparison, side(says(0)), side(says(0)))
    compare(comparison, side(says(0)), side(says(1)), pair=NEXT, start=1)
    compare(comparison, side(says(0)), side(says(0)), start=2)  # an answer of the pair before, which came late
    first, second = comparison.flush(at=20.0)
    assert (first.champion, first.release, first.inputs, first.agreed) == ("toy-1", "toy-2", 2, 2)
    assert (second.champion, second.release, second.inputs, second.agreed) == ("toy-2", "toy-3", 1, 0)


def test_labels_are_held_against_both_once_and_for_the_pair_that_predicted(comparison: Comparison) -> None:
    compare(comparison, side(says(0), says(0), says(1), says(1)), side(says(0), says(1), says(0), says(1)))
    comparison.flush(at=20.0)
    assert [comparison.labelled(f"s:{index}", 0, at=21.0) for index in (0, 1, 2, 3, 3, 9)] == [True] * 4 + [False] * 2
    (report,) = comparison.flush(at=30.0)
    counts = (report.both_right, report.only_champion, report.only_challenger, report.both_wrong)
    assert (counts, report.inputs, report.release) == ((1, 1, 1, 1), 0, "toy-2")


def test_labels_that_come_too_late_are_not_waited_for(comparison: Comparison) -> None:
    compare(comparison, side(*[says(0)] * 5), side(*[says(0)] * 5))
    assert not comparison.labelled("s:0", 0, at=1.0)
    assert comparison.labelled("s:1", 0, at=1.0)


def test_detectors_agree_on_how_much_of_what_they_found_and_have_no_label(comparison: Comparison) -> None:
    assert same(finds("car", "person", "car"), finds("person", "car", "car"))
    assert same(finds(), finds())
    assert not same(finds("car"), finds("car", "car"))
    compare(comparison, side(finds("car"), finds()), side(finds("car"), finds("person")))
    assert not comparison.labelled("s:0", 0, at=1.0)
    (report,) = comparison.flush(at=20.0)
    assert (report.inputs, report.agreed, report.classes) == (2, 1, {"car": 1, "person": 1})


@pytest.mark.parametrize(
    ("difference", "step"),
    [(0.0, 0), (0.05, 1), (0.049, 0), (-0.001, -1), (-0.05, -1), (0.15 - 0.1, 1), (1.0, 20), (-1.0, -20), (3.0, 20)],
)
def test_differences_are_rounded_down_to_twentieths(difference: float, step: int) -> None:
    assert step_of(difference) == step


def test_the_most_memory_of_a_window_counts(comparison: Comparison) -> None:
    comparison.measured(PAIR, 80.0)  # nothing to report yet
    compare(comparison, side(says(0)), side(says(0)))
    for size in (70.0, 90.0, 60.0, None):
        comparison.measured(PAIR, size)
    (report,) = comparison.flush(at=20.0)
    assert report.memory_mib == 90.0


def test_a_split_takes_the_same_inputs_each_time_and_about_its_share() -> None:
    names = [f"wrist:{index}" for index in range(4000)]
    chosen = [name for name in names if is_challengers(name, 0.3)]
    assert chosen == [name for name in names if is_challengers(name, 0.3)]
    assert abs(len(chosen) / len(names) - 0.3) < 0.03
    assert set(chosen) <= {name for name in names if is_challengers(name, 0.5)}
    assert not any(is_challengers(name, 0.0) for name in names)
    assert all(is_challengers(name, 1.0) for name in names)


def test_a_budget_is_kept_over_time() -> None:
    budget, at, worked = Budget(), 100.0, 0.0
    for _ in range(10_000):
        at += 0.01
        if budget.allows(0.25, at=at):
            budget.spend(0.03)
            worked += 0.03
    assert worked <= 0.25 * 100 + BURST_S * 0.25 + 0.03
    assert worked >= 0.24 * 100


def test_a_budget_counts_cores_saves_up_little_and_may_be_nothing() -> None:
    assert not Budget().allows(0.0, at=1.0)
    budget = Budget(cores=4)
    assert budget.allows(1.0, at=0.0)
    budget.spend(1.0)  # 4 seconds of a core
    assert not budget.allows(1.0, at=1.9)
    assert budget.allows(1.0, at=2.1)
    assert budget.allows(1.0, at=1e6)
    budget.spend(BURST_S / 4 + 0.01)
    assert not budget.allows(1.0, at=1e6)
