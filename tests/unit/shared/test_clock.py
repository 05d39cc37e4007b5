"""Time as an argument."""

from datetime import UTC, datetime

from shared.clock import SystemClock, VirtualClock, utc


def test_a_virtual_clock_moves_only_when_told() -> None:
    clock = VirtualClock(at=100.0)
    assert (clock.now(), clock.monotonic()) == (100.0, 0.0)
    clock.advance(2.5)
    assert (clock.now(), clock.monotonic()) == (102.5, 2.5)


def test_the_wall_may_be_set_back_while_monotonic_time_goes_on() -> None:
    clock = VirtualClock(at=1000.0)
    clock.advance(5)
    clock.at = 0.0
    assert (clock.now(), clock.monotonic()) == (0.0, 5.0)


def test_the_systems_clock_grows() -> None:
    clock = SystemClock()
    assert clock.monotonic() <= clock.monotonic()
    assert clock.now() > datetime(2024, 1, 1, tzinfo=UTC).timestamp()


def test_times_are_aware_and_in_utc() -> None:
    assert utc(0.0) == datetime(1970, 1, 1, tzinfo=UTC)
    assert utc(VirtualClock().now()).isoformat() == "2026-01-01T00:00:00+00:00"
