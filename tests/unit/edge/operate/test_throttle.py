"""Heat and batteries, minute by minute."""

from hypothesis import given, settings
from hypothesis import strategies as st

from edge.facts import Power
from edge.operate.throttle import STEPS, Change, Limits, Throttle

LIMITS = Limits(hot_c=80.0, charge=40.0)
MAINS = Power()


def _on_battery(charge: float) -> Power:
    return Power(on_battery=True, charge=charge)


def _play(heat: list[float | None], *, every_s: float = 30.0) -> list[Change]:
    throttle = Throttle(LIMITS)
    looks = [throttle.look(heat_c=each, power=MAINS, at=index * every_s) for index, each in enumerate(heat)]
    return [each for each in looks if each is not None]


def test_heat_takes_frames_away_step_by_step_and_gives_them_back_more_slowly() -> None:
    changes = _play([70, 80, 85, 85, 85, 85, 70, 70, 70, 70, 70, 70, 70])
    assert changes == [
        Change(0.5, "heat"),
        Change(0.25, "heat"),
        Change(0.125, "heat"),
        Change(0.25, "heat"),
        Change(0.5, "heat"),
        Change(1.0, ""),
    ]


def test_between_hot_and_cool_nothing_changes() -> None:
    assert _play([81, 79, 76, 79, 81, 79, 76]) == [Change(0.5, "heat"), Change(0.25, "heat")]


def test_a_step_is_given_time_to_show() -> None:
    assert _play([90] * 10, every_s=1.0) == [Change(0.5, "heat")]


def test_a_sensor_that_falls_silent_holds_nobody_back_for_ever() -> None:
    assert _play([90, None, None, None, None]) == [Change(0.5, "heat"), Change(1.0, "")]


def test_a_battery_that_empties_takes_frames_away_and_a_socket_gives_all_back() -> None:
    throttle = Throttle(LIMITS)
    looks = [
        throttle.look(heat_c=None, power=power, at=0.0)
        for power in [*map(_on_battery, (50, 39, 41, 19, 21, 9, 44, 39)), MAINS]
    ]
    assert looks == [
        None, Change(0.5, "battery"), None, Change(0.25, "battery"), None, Change(0.125, "battery"), Change(1.0, ""),
        Change(0.5, "battery"), Change(1.0, ""),
    ]  # fmt: skip


def test_without_limits_nothing_is_held_back() -> None:
    throttle = Throttle(Limits(hot_c=None, charge=0))
    for at in range(100):
        assert throttle.look(heat_c=149, power=_on_battery(0), at=float(at)) is None


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.none() | st.floats(-40, 150), st.none() | st.floats(0, 100), st.floats(0, 100)), max_size=60)
)
def test_each_change_is_told_once_and_heat_moves_one_step_at_a_time(
    looks: list[tuple[float | None, float | None, float]],
) -> None:
    throttle, share, at = Throttle(LIMITS), 1.0, 0.0
    for heat_c, charge, passed in looks:
        at += passed
        power = MAINS if charge is None else _on_battery(charge)
        change = throttle.look(heat_c=heat_c, power=power, at=at)
        if change is None:
            continue
        assert change.share in STEPS
        assert change.share != share
        assert (change.share == 1.0) == (change.reason == "")
        share = change.share
    for _ in range(len(STEPS)):
        at += 100
        change = throttle.look(heat_c=20, power=MAINS, at=at)
        share = change.share if change else share
    assert share == 1.0
