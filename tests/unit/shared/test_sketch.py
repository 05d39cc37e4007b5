import numpy as np
import pytest

from shared.sketch import Sketch, psi, psi_counts


def test_quantiles_and_cdf_agree_with_the_values() -> None:
    sketch = Sketch(np.arange(1, 101))
    assert sketch.count == 100
    assert sketch.quantiles([0.25, 0.5, 1.0]).tolist() == [25, 50, 100]
    assert sketch.cdf([0.5, 50, 100]).tolist() == [0, 0.5, 1]


def test_an_empty_sketch_knows_nothing() -> None:
    assert np.isnan(Sketch().quantile(0.5))
    assert np.isnan(Sketch().cdf([0.0])).all()
    assert Sketch.from_bytes(Sketch().to_bytes()).count == 0


def test_values_that_are_not_finite_are_left_out() -> None:
    assert Sketch([1.0, np.nan, np.inf, -np.inf, 1e300]).count == 1


def test_merging_leaves_the_parts_alone_and_may_take_itself() -> None:
    left, right = Sketch(np.arange(10)), Sketch(np.arange(20))
    assert Sketch.merged([left, right]).count == 30
    assert (left.count, right.count) == (10, 20)
    left.merge(left)
    assert left.count == 20


def test_rank_error_stays_within_the_published_bound() -> None:
    values = np.random.default_rng(0).normal(size=50_000)
    sketch = Sketch(values)
    points = np.linspace(-2, 2, 21)
    true = np.searchsorted(np.sort(values), points, side="right") / len(values)
    assert np.abs(sketch.cdf(points.tolist()) - true).max() < 0.0266  # twice the 99 % bound of one point


def test_a_sketch_stays_small() -> None:
    assert len(Sketch(np.random.default_rng(0).normal(size=1_000_000)).to_bytes()) < 2700


def test_psi_without_a_shift_is_what_sampling_alone_gives() -> None:
    rng = np.random.default_rng(3)
    scores = [psi(Sketch(rng.normal(size=400)), Sketch(rng.normal(size=100))) for _ in range(200)]
    assert np.mean(scores) == pytest.approx(9 * (1 / 400 + 1 / 100), rel=0.25)


def test_psi_grows_with_the_shift() -> None:
    rng = np.random.default_rng(4)
    reference = Sketch(rng.normal(size=2000))
    scores = [psi(reference, Sketch(rng.normal(loc=shift, size=2000))) for shift in (0, 0.25, 0.5, 1, 2)]
    assert scores == sorted(scores)
    assert scores[0] < 0.05 < 0.25 < scores[3]


def test_psi_of_a_feature_that_never_changed() -> None:
    still = Sketch(np.ones(50))
    assert psi(still, Sketch(np.ones(30))) == 0
    assert psi(still, Sketch(np.zeros(30))) > 1
    assert psi(still, Sketch(np.full(30, 2.0))) > 1


def test_psi_against_nothing_is_zero() -> None:
    assert psi(Sketch(), Sketch([1.0])) == psi(Sketch([1.0]), Sketch()) == 0


def test_psi_of_class_counts() -> None:
    assert psi_counts({"a": 50, "b": 50}, {"a": 10, "b": 10}) == pytest.approx(0)
    assert psi_counts({"a": 50, "b": 50}, {"a": 90, "b": 10}) > 0.25
    assert psi_counts({"a": 50}, {"b": 50}) > 1
    assert psi_counts({}, {"a": 1}) == 0
