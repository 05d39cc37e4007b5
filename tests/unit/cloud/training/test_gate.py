"""The bounds of the gate: what is scaled back, to where, and by whose measure."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.training.gate import BLOCK, Check, Gate, GateError
from cloud.training.gate_terms import GateTerms, check_terms, clip_bound
from shared.errors import ContractError

FLOATS = st.floats(-100, 100, width=32)
VECTORS = st.lists(st.tuples(FLOATS, FLOATS), min_size=1, max_size=20)


def gate(model, **named):
    return Gate.around({"w": model}, GateTerms(farthest=None), **named)


@given(VECTORS, st.floats(0.01, 1000))
def test_nothing_goes_farther_than_the_bound_and_what_lies_within_is_untouched(pairs, bound):
    model, update = np.array(pairs, dtype=np.float32).T.copy()
    admitted = gate(model, bound=bound).admit({"w": update}, 1, registered=1)
    way = float(np.linalg.norm(update.astype(np.float64) - model))
    assert admitted.way == pytest.approx(way, rel=1e-6)
    assert admitted.clipped is (admitted.way > bound)
    if not admitted.clipped:
        assert admitted.update["w"] is update
    left = admitted.update["w"].astype(np.float64) - model
    assert float(np.linalg.norm(left)) <= bound * (1 + 1e-6) + 2e-5 * math.sqrt(len(pairs))
    assert admitted.update["w"].dtype == np.float32


def test_a_clipped_update_keeps_its_direction_and_the_sender_its_array():
    model, update = np.array([1, 1], np.float32), np.array([4, 5], np.float32)
    admitted = gate(model, bound=1.0).admit({"w": update}, 1, registered=1)
    assert admitted.way == 5.0
    assert admitted.update["w"] == pytest.approx([1.6, 1.8])
    assert update.tolist() == [4, 5]


@pytest.mark.parametrize("place", [0, BLOCK - 1, BLOCK, 2 * BLOCK])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e9])
def test_a_bad_value_is_found_in_every_block(place, value):
    model = np.ones(2 * BLOCK + 1, np.float32)
    update = model.copy()
    update[place] = value
    with pytest.raises(GateError) as caught:
        gate(model).admit({"w": update}, 1, registered=1)
    assert caught.value.check is Check.FINITE


def test_a_refusal_says_what_was_measured():
    model = np.ones(4, np.float32)
    with pytest.raises(GateError) as caught:
        Gate.around({"w": model}).admit({"w": -model}, 1, registered=1)
    assert (caught.value.check, caught.value.measured) == (Check.DISTANCE, "2")
    assert gate(model).admit({"w": -model}, 1, registered=1).way == 4.0  # left to the rule


@given(st.lists(st.floats(0.1, 10), min_size=1, max_size=15), st.lists(st.floats(0, 1e9), max_size=15))
def test_a_minority_of_liars_cannot_move_the_bound_beyond_the_honest(honest, lies):
    lies = lies[: len(honest) - 1]
    bound = clip_bound(GateTerms(clip_to_median=2.0), [*lies, *honest])
    assert bound is None or bound <= 2.0 * max(honest)


def test_bounds():
    assert clip_bound(GateTerms(), [1.0]) is None
    assert clip_bound(GateTerms(clip=3.0), []) == 3.0
    assert clip_bound(GateTerms(clip_to_median=2.0), []) is None  # the first round has nothing to go by
    assert clip_bound(GateTerms(clip_to_median=2.0), [9.0, 1.0, 4.0, 3.0]) == 6.0


@pytest.mark.parametrize(
    "terms",
    [
        GateTerms(clip=0.0), GateTerms(farthest=-1.0), GateTerms(clip=float("nan")), GateTerms(clip_to_median=math.inf),
        GateTerms(clip=1.0, clip_to_median=1.0), GateTerms(strikes=-1),
    ],
)  # fmt: skip
def test_terms_that_are_none(terms):
    with pytest.raises(ContractError):
        check_terms(terms)
