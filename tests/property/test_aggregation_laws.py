import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cloud.training.rules import Krum, Mean, Median, TrimmedMean, combined
from cloud.training.updates import UpdateStore

values = st.floats(-1e4, 1e4, width=32)
updates = st.lists(st.tuples(arrays(np.float32, 5, elements=values), st.integers(1, 1 << 20)), min_size=1, max_size=20)
RULES = [Mean(), TrimmedMean(share=0.3), Median(), Krum()]


def made(rule, pairs):
    """What a rule makes of (device, update, examples), which arrive in this order."""
    with UpdateStore(Path(tempfile.gettempdir()), size=5) as store:
        for device, update, examples in pairs:
            store.add(device, update, examples=examples)
        return combined(rule, store)


def named(pairs):
    return [(f"d-{number:02}", update, examples) for number, (update, examples) in enumerate(pairs)]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
@given(updates.filter(lambda pairs: len(pairs) >= 3), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_any_order_of_arrival_gives_the_same_bits(rule, pairs, random):
    sent = named(pairs)
    shuffled = list(sent)
    random.shuffle(shuffled)
    assert made(rule, sent).tobytes() == made(rule, shuffled).tobytes()


@given(updates)
@settings(max_examples=100, deadline=None)
def test_the_mean_is_right_within_the_stated_precision(pairs):
    total = sum(examples for _, examples in pairs)
    exact = sum(update.astype(np.longdouble) * examples for update, examples in pairs) / total
    first = pairs[0][0].astype(np.longdouble)
    spread = sum(np.abs(update - first) * examples for update, examples in pairs) / total
    allowed = 7 * 2.0**-24 * spread + np.abs(exact) * 2.0**-24 + 2.0**-120
    assert (np.abs(made(Mean(), named(pairs)) - exact) <= allowed).all()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
@given(arrays(np.float32, 5, elements=values), st.lists(st.integers(1, 1 << 20), min_size=3, max_size=20))
@settings(max_examples=60, deadline=None)
def test_what_all_agree_on_stays_bit_for_bit(rule, update, examples):
    same = made(rule, named([(update, count) for count in examples]))
    assert same.tobytes() == (update + np.float32(0)).tobytes()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
@given(updates.filter(lambda pairs: len(pairs) >= 3))
@settings(max_examples=60, deadline=None)
def test_the_result_lies_between_the_least_and_the_greatest(rule, pairs):
    stacked = np.stack([update for update, _ in pairs])
    slack = 2.0**-20 * np.abs(stacked).max()
    result = made(rule, named(pairs))
    assert (result >= stacked.min(axis=0) - slack).all()
    assert (result <= stacked.max(axis=0) + slack).all()
