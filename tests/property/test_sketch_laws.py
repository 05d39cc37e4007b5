import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.sketch import Sketch, psi, psi_counts

SIZES = st.integers(min_value=0, max_value=3000)
BOUND = 0.04  # three times the rank error that 99 of 100 sketches keep


def _values(seed: int, size: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=size).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(a=SIZES, b=SIZES, c=SIZES, seed=st.integers(0, 1000))
def test_merging_is_associative_up_to_the_rank_error(a: int, b: int, c: int, seed: int) -> None:
    parts = [_values(seed + i, size) for i, size in enumerate((a, b, c))]
    every = np.sort(np.concatenate(parts))
    x, y, z = (Sketch(part) for part in parts)
    left = Sketch.merged([Sketch.merged([x, y]), z])
    right = Sketch.merged([x, Sketch.merged([y, z])])
    assert left.count == right.count == len(every)
    if len(every):
        points = [-1.0, 0.0, 1.0]
        true = np.searchsorted(every, points, side="right") / len(every)
        assert np.abs(left.cdf(points) - true).max() < BOUND
        assert np.abs(right.cdf(points) - true).max() < BOUND


@settings(max_examples=40, deadline=None)
@given(size=SIZES, seed=st.integers(0, 1000))
def test_bytes_survive_a_round_trip(size: int, seed: int) -> None:
    data = Sketch(_values(seed, size)).to_bytes()
    assert Sketch.from_bytes(data).to_bytes() == data


@settings(max_examples=60, deadline=None)
@given(
    reference=st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=300),
    live=st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=300),
)
def test_psi_is_never_negative_and_zero_against_itself(reference: list[float], live: list[float]) -> None:
    assert psi(Sketch(reference), Sketch(live)) >= 0
    assert psi(Sketch(reference), Sketch(reference)) == 0


COUNTS = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 1000), max_size=6)


@given(reference=COUNTS, live=COUNTS)
def test_psi_of_counts_is_symmetric_and_never_negative(reference: dict[str, int], live: dict[str, int]) -> None:
    assert psi_counts(reference, live) >= 0
    assert np.isclose(psi_counts(reference, live), psi_counts(live, reference))
