import numpy as np

from edge.pipelines.sources.sensors.watch import Watch


def _watch() -> Watch:
    watch = Watch(["x", "y"], silent_s=5, frozen_s=8)
    watch.began(at=0)
    return watch


def test_a_silent_channel_is_told_once_and_again_when_it_speaks() -> None:
    watch = _watch()
    for at in range(1, 10):
        watch.seen([0], np.array([[float(at)]]), at=at, now=1000 + at)
        watch.check(at=at, now=1000 + at)
    (told,) = watch.told()
    assert (told.reason, told.since, told.noticed, told.until) == ("silent", 1000, 1005, 0)
    assert told.text.startswith("y")
    watch.seen([1], np.array([[1.0]]), at=10, now=1010)
    (over,) = watch.told()
    assert (over.reason, over.since, over.until) == ("silent", 1000, 1010)


def test_a_frozen_channel_is_told_until_its_value_moves() -> None:
    watch = _watch()
    for at in range(1, 14):
        watch.seen([0, 1], np.array([[float(at), 3.0]]), at=at, now=1000 + at)
        watch.check(at=at, now=1000 + at)
    (told,) = watch.told()
    assert (told.reason, told.since, told.noticed) == ("frozen", 1001, 1009)
    watch.seen([0, 1], np.array([[1.0, 4.0]]), at=14, now=1014)
    assert [each.until for each in watch.told()] == [1014]


def test_what_is_not_a_number_is_no_sign_of_life() -> None:
    watch = _watch()
    for at in range(1, 8):
        watch.seen([0, 1], np.array([[np.nan, float(at)]]), at=at, now=at)
        watch.check(at=at, now=at)
    assert [each.text[0] for each in watch.told()] == ["x"]


def test_a_sensor_out_of_reach_is_one_stall_and_not_one_a_channel() -> None:
    watch = _watch()
    watch.seen([0, 1], np.zeros((1, 2)), at=1, now=1001)
    for at in range(2, 30):
        watch.lost("no route", at=at, now=1000 + at)
        watch.check(at=at, now=1000 + at)
    (told,) = watch.told()
    assert (told.reason, told.since, told.noticed, told.text) == ("unreachable", 1001, 1002, "no route")
    watch.seen([0, 1], np.ones((1, 2)), at=30, now=1030)
    assert [each.until for each in watch.told()] == [1030]
