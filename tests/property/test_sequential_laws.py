"""The promises of the sequential test: rare errors under constant peeping, and verdicts that counts alone decide."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.rollout.sequential import Tolerance, Verdict, judge, merge
from shared.errors import ContractError

TOLERANCE = Tolerance(margin=0.05, promote_error=0.05, halt_error=0.05)
COUNTS = st.dictionaries(st.sampled_from([-1.0, -0.5, 0.0, 0.25, 1.0]), st.integers(0, 500))


def first_verdict(rng, *, lost, won, inputs=1500, every=25):
    """Look after every 25 inputs, as an impatient operator would, until there is a verdict."""
    draws = rng.choice([-1.0, 0.0, 1.0], p=[lost, 1 - lost - won, won], size=inputs)
    for end in range(every, inputs + 1, every):
        verdict = judge(Counter(draws[:end].tolist()), TOLERANCE).verdict
        if verdict is not Verdict.OPEN:
            return verdict, end
    return Verdict.OPEN, inputs


def share(verdict, *, lost, won, runs=300):
    rng = np.random.default_rng(7)
    return sum(first_verdict(rng, lost=lost, won=won)[0] is verdict for _ in range(runs)) / runs


def test_one_that_is_just_too_bad_is_rarely_promoted():
    assert share(Verdict.NOT_WORSE, lost=0.10, won=0.049) <= 0.05


def test_one_that_is_just_good_enough_is_rarely_halted():
    assert share(Verdict.WORSE, lost=0.10, won=0.05) <= 0.05


def test_eight_points_worse_is_found_and_equal_is_promoted():
    tight = Tolerance(margin=0.02)
    rng = np.random.default_rng(3)
    halted = promoted = 0
    for _ in range(100):
        worse = Counter(rng.choice([-1.0, 0.0, 1.0], p=[0.12, 0.84, 0.04], size=2000).tolist())
        equal = Counter(rng.choice([-1.0, 0.0, 1.0], p=[0.02, 0.96, 0.02], size=2000).tolist())
        halted += judge(worse, tight).verdict is Verdict.WORSE
        promoted += judge(equal, tight).verdict is Verdict.NOT_WORSE
    assert halted >= 95
    assert promoted >= 80


@given(COUNTS, COUNTS)
def test_the_way_counts_are_gathered_does_not_matter(one, other):
    together, again = judge(merge(one, other), TOLERANCE), judge(merge(other, one), TOLERANCE)
    assert together.verdict is again.verdict
    assert together.not_worse == pytest.approx(again.not_worse, rel=1e-9, abs=1e-9) or math.isinf(together.not_worse)


@given(COUNTS, st.integers(1, 300))
def test_more_losses_never_speak_for_the_challenger(counts, more):
    before, after = judge(counts, TOLERANCE), judge(merge(counts, {-1.0: more}), TOLERANCE)
    assert after.not_worse < before.not_worse or math.isinf(before.not_worse)
    assert after.mean <= before.mean or before.inputs == 0


def test_nothing_seen_says_nothing():
    assert judge({}, TOLERANCE).verdict is Verdict.OPEN


@pytest.mark.parametrize("counts", [{1.5: 1}, {math.nan: 1}, {0.0: -1}])
def test_impossible_counts_are_refused(counts):
    with pytest.raises(ContractError):
        judge(counts, TOLERANCE)
