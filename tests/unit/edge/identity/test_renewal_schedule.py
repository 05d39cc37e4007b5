"""Ten thousand devices that were enrolled in one morning do not come back in one."""

import itertools
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from edge.identity.schedule import EARLIEST, LATEST, renewal_at

DAY = 86_400.0
LIFE = 30 * DAY


def test_ten_thousand_devices_spread_evenly():
    places = [renewal_at(f"device-{n}", begins=0, ends=LIFE) for n in range(10_000)]
    first, last = LIFE * EARLIEST, LIFE * LATEST
    assert min(places) >= first
    assert max(places) < last
    parts = [0] * 100
    for place in places:
        parts[int((place - first) / (last - first) * 100)] += 1
    assert max(parts) < 150  # of 100 on average; a Poisson count of 100 reaches 150 once in a million
    assert min(parts) > 55
    chi = sum((count - 100) ** 2 / 100 for count in parts)
    assert chi < 149  # 99.9 % of chi-squared with 99 degrees of freedom


def test_names_that_differ_in_one_letter_are_apart_as_names_drawn_at_random_are():
    places = sorted(renewal_at(f"watch-{n:05}", begins=0, ends=LIFE) for n in range(10_000))
    gaps = [later - earlier for earlier, later in itertools.pairwise(places)]
    drawn = Random(1)
    ideal = sorted(drawn.uniform(LIFE / 2, LIFE * 3 / 4) for _ in range(10_000))
    widest = max(later - earlier for earlier, later in itertools.pairwise(ideal))
    assert max(gaps) < 2 * widest


@given(st.from_regex(r"[a-z][a-z0-9]{0,20}", fullmatch=True), st.floats(60, 400 * DAY), st.floats(0, 4e9))
def test_a_device_has_one_place_and_keeps_it(device, life, begins):
    at = renewal_at(device, begins=begins, ends=begins + life)
    assert at == renewal_at(device, begins=begins, ends=begins + life)
    assert begins + life * EARLIEST - 1 <= at <= begins + life * LATEST + 1
