from dataclasses import replace
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.facts import Power
from edge.update.obstacles import Obstacle, Policy, Readings, at_least, judge, within
from shared.bundle import Needs, Runtime, Variant

MIB = 1 << 20
VARIANT = Variant(
    name="cpu-int8.onnx",
    runtime=Runtime.ONNXRUNTIME,
    precision="int8",
    hardware=["cpu", "arm64"],
    digest="a" * 64,
    size=10 * MIB,
    chunks=[],
    needs=Needs(memory_mib=96, runtime_version="1.22"),
)
POLICY = Policy(hardware=frozenset({"cpu"}), runtimes=frozenset({Runtime.ONNXRUNTIME}))
FINE = Readings(at=0.0, memory_mib=96, disk_bytes=20 * MIB, version="1.22.0")


def test_a_device_with_just_enough_has_no_obstacle():
    assert judge(VARIANT, FINE, POLICY) is None


def test_what_the_machine_does_not_say_stops_nothing():
    variant = msgspec.structs.replace(VARIANT, needs=Needs())
    assert judge(variant, Readings(at=0.0), POLICY) is None


@pytest.mark.parametrize(
    ("readings", "said"),
    [
        (replace(FINE, disk_bytes=20 * MIB - 1), "needs 20 MiB of disk, 19 MiB are free"),
        (replace(FINE, memory_mib=95), "needs 96 MiB of memory, 95 MiB are free"),
        (replace(FINE, power=Power(on_battery=True, charge=19.0)), "on battery with 19 %"),
    ],
)
def test_what_may_pass_holds_the_release(readings, said):
    obstacle = judge(VARIANT, readings, POLICY)
    assert obstacle is not None and obstacle.passing
    assert said in obstacle.reason


@pytest.mark.parametrize(
    "readings",
    [
        replace(FINE, disk_bytes=13 * MIB, present_bytes=7 * MIB),
        replace(FINE, power=Power(on_battery=True, charge=20.0)),
        replace(FINE, power=Power(on_battery=True, charge=None)),
        replace(FINE, power=Power(on_battery=False, charge=3.0)),
    ],
)
def test_what_only_looks_like_an_obstacle_is_none(readings):
    assert judge(VARIANT, readings, POLICY) is None


@pytest.mark.parametrize(
    ("policy", "readings", "said"),
    [
        (replace(POLICY, hardware=frozenset({"sm87"})), FINE, "is for cpu, arm64, which this device is not"),
        (replace(POLICY, runtimes=frozenset({Runtime.OPENVINO})), FINE, "cannot execute"),
        (POLICY, replace(FINE, version="1.21.9"), "needs onnxruntime 1.22, this device has 1.21.9"),
        (POLICY, replace(FINE, version=None), "this device has none"),
    ],
)
def test_what_never_passes_is_said_even_where_something_passing_is_in_the_way_too(policy, readings, said):
    obstacle = judge(VARIANT, replace(readings, disk_bytes=0, memory_mib=0), policy)
    assert obstacle is not None and not obstacle.passing
    assert said in obstacle.reason


@pytest.mark.parametrize(("metered", "over", "held"), [(True, False, True), (True, True, False), (False, False, False)])
def test_a_metered_link_is_used_only_where_the_owner_says_so(metered, over, held):
    obstacle = judge(VARIANT, FINE, replace(POLICY, metered=metered, over_metered=over))
    assert (obstacle is not None) is held
    assert obstacle is None or (isinstance(obstacle, Obstacle) and obstacle.passing)


def test_outside_its_hours_a_release_is_held():
    noon = datetime(2026, 5, 4, 12, tzinfo=UTC).timestamp()
    obstacle = judge(VARIANT, replace(FINE, at=noon), replace(POLICY, hours=("22:00-05:00", "13:00-14:00")))
    assert obstacle is not None and obstacle.passing
    assert obstacle.reason == "updates start between 22:00-05:00 and 13:00-14:00 UTC"
    assert judge(VARIANT, replace(FINE, at=noon), replace(POLICY, hours=("11:00-12:01",))) is None


@pytest.mark.parametrize(
    ("clock", "span", "inside"),
    [
        ("00:00", "22:00-05:00", True),
        ("04:59", "22:00-05:00", True),
        ("05:00", "22:00-05:00", False),
        ("21:59", "22:00-05:00", False),
        ("08:00", "08:00-09:00", True),
        ("09:00", "08:00-09:00", False),
        ("12:00", "08:00-08:00", True),
    ],
)
def test_hours_begin_with_their_first_minute_and_end_before_their_last(clock, span, inside):
    hour, minute = map(int, clock.split(":"))
    at = datetime(2026, 5, 4, hour, minute, 30, tzinfo=UTC).timestamp()
    assert within([span], at=at) is inside


ASCENDING = ["0.9", "1.9", "1.22.dev1", "1.22", "1.22.0.1", "1.22.1rc1", "1.22.1", "1.100", "2", "10.0"]


def test_versions_are_compared_as_numbers():
    for index, version in enumerate(ASCENDING):
        assert [at_least(version, oldest) for oldest in ASCENDING] == [
            other <= index for other in range(len(ASCENDING))
        ], version


@pytest.mark.parametrize(("version", "same"), [("1.22", "1.22.0"), ("v1.22", "1.22"), ("1.22.0+cu12", "1.22")])
def test_the_same_version_may_be_written_otherwise(version, same):
    assert at_least(version, same) and at_least(same, version)


@pytest.mark.parametrize("unreadable", ["", "latest", "-1", "٣.٤", "." * 40, "9" * 5000])
def test_an_unreadable_version_is_never_good_enough(unreadable):
    assert not at_least(unreadable, "1.0")
    assert not at_least("1.0", unreadable)


@given(st.lists(st.integers(0, 99), min_size=1, max_size=5), st.lists(st.integers(0, 99), min_size=1, max_size=5))
def test_of_two_versions_one_is_at_least_the_other(one, two):
    first, second = ".".join(map(str, one)), ".".join(map(str, two))
    assert at_least(first, second) or at_least(second, first)
    length = max(len(one), len(two))
    padded = [numbers + [0] * (length - len(numbers)) for numbers in (one, two)]
    assert at_least(first, second) is (padded[0] >= padded[1])
