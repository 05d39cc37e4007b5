import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cloud.training.aggregate import RunningMean

values = st.floats(-1e4, 1e4, width=32)
updates = st.lists(st.tuples(arrays(np.float32, 5, elements=values), st.integers(1, 1 << 20)), min_size=1, max_size=8)


def mean_of(pairs):
    mean = RunningMean({"w": np.zeros(5, dtype=np.float32)})
    for update, examples in pairs:
        mean.add({"w": update}, examples)
    return mean.mean()["w"]


@given(updates, st.randoms(use_true_random=False))
@settings(max_examples=200, deadline=None)
def test_any_order_of_arrival_gives_the_same_bits(pairs, random):
    shuffled = list(pairs)
    random.shuffle(shuffled)
    assert mean_of(pairs).tobytes() == mean_of(shuffled).tobytes()


@given(updates)
@settings(max_examples=100, deadline=None)
def test_the_mean_is_right_within_the_stated_precision(pairs):
    total = sum(examples for _, examples in pairs)
    exact = sum(update.astype(np.longdouble) * examples for update, examples in pairs) / total
    allowed = 2.0**-33 + np.abs(exact) * 2.0**-23
    assert (np.abs(mean_of(pairs) - exact) <= allowed).all()


@given(updates)
@settings(max_examples=100, deadline=None)
def test_the_mean_lies_between_the_least_and_the_greatest(pairs):
    stacked = np.stack([update for update, _ in pairs])
    slack = 2.0**-32 + np.abs(stacked).max() * 2.0**-23
    mean = mean_of(pairs)
    assert (mean >= stacked.min(axis=0) - slack).all()
    assert (mean <= stacked.max(axis=0) + slack).all()
