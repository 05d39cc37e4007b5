"""Windows: times of the week as a wall clock shows them."""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.rollout.spec import Window
from cloud.rollout.windows import DAYS, check_window, is_open
from shared.errors import RefusedError

BERLIN = ZoneInfo("Europe/Berlin")


def at(text, zone="UTC"):
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


@pytest.mark.parametrize(
    ("window", "moment", "expected"),
    [
        (Window(start="09:00", end="17:00"), "2026-11-25T09:00", True),
        (Window(start="09:00", end="17:00"), "2026-11-25T17:00", False),
        (Window(start="22:00", end="05:00"), "2026-11-25T23:00", True),
        (Window(start="22:00", end="05:00"), "2026-11-26T04:59", True),
        (Window(start="22:00", end="05:00"), "2026-11-26T05:00", False),
        (Window(days=("wed",), start="22:00", end="05:00"), "2026-11-26T03:00", True),  # began on Wednesday
        (Window(days=("thu",), start="22:00", end="05:00"), "2026-11-26T03:00", False),
        (Window(days=("sat", "sun")), "2026-11-28T00:00", True),
        (Window(days=("sat", "sun")), "2026-11-27T23:59", False),
        (Window(start="20:00", end="24:00"), "2026-11-25T23:59", True),
    ],
)
def test_when_a_window_is_open(window, moment, expected):
    check_window(window)
    assert is_open([window], at(moment)) is expected


def test_without_windows_it_is_always_open():
    assert is_open([], 0.0)


def test_one_of_several_is_enough():
    windows = [Window(start="01:00", end="02:00"), Window(start="03:00", end="04:00")]
    assert [is_open(windows, at(f"2026-11-25T0{hour}:30")) for hour in range(1, 5)] == [True, False, True, False]


def test_the_clock_of_the_place_counts():
    night = Window(start="22:00", end="23:00", zone="Europe/Berlin")
    assert is_open([night], at("2026-07-01T20:30"))  # summer: two hours ahead
    assert is_open([night], at("2026-11-25T21:30"))  # winter: one


def test_nights_in_which_clocks_change():
    early = Window(start="02:00", end="03:00", zone="Europe/Berlin")
    forward = [is_open([early], at("2026-03-29T00:00") + 60 * minute) for minute in range(240)]
    back = [is_open([early], at("2026-10-24T23:00") + 60 * minute) for minute in range(240)]
    assert (sum(forward), sum(back)) == (0, 120)


@given(st.integers(0, 2**31), st.sampled_from(DAYS), st.integers(0, 23), st.integers(1, 23))
def test_a_window_lasts_as_long_as_it_says_outside_of_such_nights(moment, day, start, hours):
    end = (start + hours) % 24
    window = Window(days=(day,), start=f"{start:02}:00", end=f"{end:02}:00")
    monday = datetime.fromtimestamp(moment, ZoneInfo("UTC")).replace(hour=0, minute=0, second=0, microsecond=0)
    monday -= timedelta(days=monday.weekday())
    week = [is_open([window], (monday + timedelta(hours=hour)).timestamp()) for hour in range(168)]
    assert sum(week) == hours


@pytest.mark.parametrize(
    "window",
    [
        Window(days=("monday",)),
        Window(start="9:00"),
        Window(end="24:01"),
        Window(start="10:00", end="10:00"),
        Window(start="24:00", end="05:00"),
        Window(zone="Mars/Olympus"),
        Window(zone="../etc/passwd"),
    ],
)
def test_what_is_no_window_is_refused(window):
    with pytest.raises(RefusedError):
        check_window(window)
