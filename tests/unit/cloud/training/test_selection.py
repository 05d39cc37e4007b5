import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.training.cohort import cohort
from cloud.training.selection import Candidate, Selection, check_selection, draw
from shared.errors import ContractError
from shared.federation import Condition

DEVICES = [f"watch-{number:02}" for number in range(20)]
ALL = {device: Candidate(100) for device in DEVICES}


@given(st.integers(0, 1 << 40), st.integers(1, 500), st.floats(0.01, 1.0))
def test_without_a_policy_chance_alone_decides_as_it_did_before(seed, round_, fraction):
    assert draw(Selection(), ALL, seed=seed, round_=round_, fraction=fraction).cohort == cohort(
        seed, round_, DEVICES, fraction
    )


@given(st.randoms(), st.integers(0, 99))
def test_a_draw_is_a_function_of_what_it_is_given_in_any_order(random, seed):
    policy = Selection(over=0.3, data=0.5, fairness=1.0, patience=4)
    found = {device: Candidate(random.randint(1, 500), random.randint(0, 9)) for device in DEVICES}
    shuffled = list(found.items())
    random.shuffle(shuffled)
    first = draw(policy, found, seed=seed, round_=3, fraction=0.4)
    assert draw(policy, dict(shuffled), seed=seed, round_=3, fraction=0.4) == first
    assert len(first.cohort) == math.ceil(first.wanted * 1.3)


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        (Condition(on_battery=True, charge=12.0), "battery"),
        (Condition(heat_c=81.0), "hot"),
        (Condition(metered=True), "byte"),
    ],
)
def test_who_should_rest_is_left_out_with_the_reason_and_others_are_drawn_instead(condition, said):
    policy = Selection(least_charge=20.0, most_heat_c=70.0, metered=False)
    drawn = draw(policy, ALL | {"watch-03": Candidate(100, 0, condition)}, seed=1, round_=1, fraction=0.95)
    assert said in drawn.excluded.pop("watch-03")
    assert not drawn.excluded
    assert drawn.cohort == sorted(set(DEVICES) - {"watch-03"})


@pytest.mark.parametrize("condition", [Condition(charge=3.0), Condition(on_battery=True), Condition()])
def test_a_plugged_in_device_or_one_that_says_nothing_is_not_left_out(condition):
    policy = Selection(least_charge=20.0, most_heat_c=70.0, metered=False)
    drawn = draw(policy, {"a": Candidate(5, 0, condition)}, seed=1, round_=1, fraction=1.0)
    assert drawn.cohort == ["a"]


def test_a_device_with_too_little_data_is_not_drawn():
    drawn = draw(Selection(least_examples=10), ALL | {"small": Candidate(9)}, seed=1, round_=1, fraction=1.0)
    assert "small" in drawn.excluded
    assert "small" not in drawn.cohort


@given(
    st.integers(2, 25),
    st.floats(0.05, 1.0),
    st.integers(1, 6),
    st.integers(0, 1000),
    st.floats(0, 1),
)
def test_with_patience_no_device_starves_however_little_it_holds(number, fraction, patience, seed, data):
    policy = Selection(patience=patience, data=data)
    waited = dict.fromkeys(range(number), 0)
    sizes = {device: 1 if device == 0 else 100_000 for device in waited}
    size = math.ceil(fraction * number)
    longest = 0
    for round_ in range(1, 60):
        found = {f"d{device}": Candidate(sizes[device], waited[device]) for device in waited}
        drawn = set(draw(policy, found, seed=seed, round_=round_, fraction=fraction).cohort)
        waited = {device: 0 if f"d{device}" in drawn else rounds + 1 for device, rounds in waited.items()}
        longest = max(longest, *waited.values())
    assert longest <= patience + math.ceil(number / size) + 1


def _times(policy, found, rounds=400):
    count = dict.fromkeys(found, 0)
    waited = dict.fromkeys(found, 0)
    for round_ in range(1, rounds + 1):
        now = {device: one._replace(waited=waited[device]) for device, one in found.items()}
        for device in draw(policy, now, seed=5, round_=round_, fraction=0.25).cohort:
            count[device] += 1
            waited[device] = -1
        waited = {device: rounds_ + 1 for device, rounds_ in waited.items()}
    return count


def test_fairness_brings_the_counts_closer_together():
    spread = [max(c.values()) - min(c.values()) for c in (_times(Selection(fairness=f), ALL) for f in (0.0, 3.0))]
    assert spread[1] < spread[0] / 2


def test_whoever_holds_more_is_drawn_more_often_when_data_counts():
    found = {device: Candidate(900 if number < 10 else 100) for number, device in enumerate(DEVICES)}
    count = _times(Selection(data=1.0), found)
    assert min(count[d] for d in DEVICES[:10]) > 2 * max(count[d] for d in DEVICES[10:])


@pytest.mark.parametrize("wrong", [{"over": 1.5}, {"data": -0.1}, {"least_charge": 101.0}, {"patience": -1}])
def test_a_policy_out_of_range_is_refused(wrong):
    with pytest.raises(ContractError):
        check_selection(Selection(**wrong))
