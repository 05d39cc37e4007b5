import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.pipelines.sources.timing import FrameClock, Haste


@given(st.lists(st.floats(0, 0.5), min_size=5, max_size=200), st.floats(-1e6, 1e6))
def test_jitter_goes_and_no_frame_is_from_the_future(delays: list[float], offset: float) -> None:
    clock = FrameClock()
    least = float("inf")
    for index, delay in enumerate(delays):
        at = index / 25
        arrived = at + offset + delay
        taken = clock.taken(at, arrived=arrived)
        least = min(least, delay)
        assert taken <= arrived + 1e-6
        assert taken - (at + offset) == pytest.approx(least, abs=1e-6)


def test_two_clocks_may_drift_apart() -> None:
    clock = FrameClock(window_s=30)
    for index in range(25 * 3600):
        at = index / 25
        arrived = at * 1.001  # the camera's clock is slow: its seconds last longer
        taken = clock.taken(at, arrived=arrived)
    assert arrived - taken < 0.07


def test_a_camera_that_counts_anew_is_followed() -> None:
    clock = FrameClock()
    assert clock.taken(1000.0, arrived=5.0) == pytest.approx(5)
    assert clock.taken(0.0, arrived=6.0) == pytest.approx(6)
    assert clock.taken(0.04, arrived=6.24) == pytest.approx(6.04)


def run(haste: Haste, *, since: float, seconds: float, loss: float = 0.0, lag: float = 0.0, late: int = 0) -> int:
    """25 frames a second, of which a share is lost; returns how many were lost in all."""
    lost = float(late)
    for index in range(int(seconds * 25)):
        now = since + index / 25
        lost += loss
        haste.frame(now, lag=lag, late=int(lost))
    return int(lost)


def test_a_pipeline_that_keeps_up_is_left_alone() -> None:
    haste = Haste()
    run(haste, since=0, seconds=60, loss=0.02)
    assert not haste.hurries(60)


def test_a_pipeline_that_loses_most_frames_gets_key_frames_only() -> None:
    haste = Haste()
    run(haste, since=0, seconds=3, loss=0.8)
    assert haste.hurries(3)
    assert not haste.hurries(30)


def test_frames_that_come_late_call_for_haste_at_once() -> None:
    haste = Haste()
    haste.frame(10.0, lag=1.5, late=0)
    assert haste.hurries(10.1)


def test_tries_of_all_frames_grow_rarer_while_they_fail() -> None:
    haste, now, lost, spells = Haste(), 0.0, 0, []
    for _ in range(4):
        began = now
        while not haste.hurries(now):
            lost = run(haste, since=now, seconds=1, loss=0.8, late=lost)
            now += 1
        assert now - began <= 4
        began = now
        while haste.hurries(now):
            now += 0.25
        spells.append(now - began)
    assert spells == sorted(spells)
    assert spells[-1] > 3 * spells[0]
