import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.pipelines.sources.sensors.resample import Resample
from edge.pipelines.sources.sensors.windows import Channel, Lost, Made, Windows, WindowSettings

RATE = 10.0
BEGAN = 1_767_225_600.0


def _windows(
    channels: int = 1,
    *,
    length: int = 4,
    stride: int = 4,
    gap_s: float = 0.25,
    way: Resample = Resample.LINEAR,
    terms: Channel | None = None,
) -> Windows:
    return Windows(
        WindowSettings(
            channels=(terms or Channel(),) * channels,
            length=length,
            stride=stride,
            rate=RATE,
            gap_s=gap_s,
            resample=way,
        )
    )


def _regular(count: int, channels: int = 1) -> tuple[np.ndarray, np.ndarray]:
    values = np.arange(count * channels, dtype=float).reshape(count, channels)
    return BEGAN + np.arange(count) / RATE, values


def _add_up(windows: Windows) -> None:
    refused = sum(windows.lost[why] for why in (Lost.NOT_FINITE, Lost.ABSURD, Lost.DUPLICATE, Lost.OUT_OF_ORDER))
    assert windows.given == windows.taken + refused
    assert windows.points == windows.covered + windows.lost[Lost.CUT] + windows.waiting


@pytest.mark.parametrize("way", list(Resample))
@pytest.mark.parametrize(("length", "stride"), [(4, 4), (4, 1), (4, 3), (3, 7), (1, 1), (5, 2)])
def test_a_stream_at_the_models_rate_passes_unchanged(way: Resample, length: int, stride: int) -> None:
    windows = _windows(2, length=length, stride=stride, way=way)
    times, values = _regular(40, 2)
    windows.add(times, values)
    made = windows.cut()
    usable = 39 if way is Resample.MEAN else 40  # the last point's mean is not whole yet
    views = np.lib.stride_tricks.sliding_window_view(values[:usable], length, axis=0)[::stride]
    np.testing.assert_allclose(made.x, views, rtol=1e-5)
    np.testing.assert_allclose(made.at, times[length - 1 : usable : stride], atol=1e-5)
    _add_up(windows)


@pytest.mark.parametrize("way", list(Resample))
def test_samples_may_come_one_by_one(way: Resample) -> None:
    whole, single = _windows(2, stride=2, way=way), _windows(2, stride=2, way=way)
    times, values = _regular(50, 2)
    whole.add(times, values)
    for at, row in zip(times, values, strict=True):
        single.add(np.array([at]), row[np.newaxis])
    np.testing.assert_array_equal(whole.cut().x, single.cut().x)


def test_a_gap_ends_a_window_and_the_grid_begins_anew_behind_it() -> None:
    windows = _windows()
    times, values = _regular(20)
    times[10:] += 0.333
    windows.add(times, values)
    made = windows.cut()
    expected = [np.arange(start, start + 4) for start in (0, 4, 10, 14)]
    np.testing.assert_allclose(made.x[:, 0], expected, rtol=1e-4)
    assert windows.gaps == 1
    assert windows.lost[Lost.CUT] == 2
    _add_up(windows)


def test_a_short_gap_is_bridged_and_counted() -> None:
    windows = _windows(gap_s=0.45)
    times, values = _regular(12)
    keep = [index for index in range(12) if index not in (4, 5, 6)]
    windows.add(times[keep], values[keep])
    np.testing.assert_allclose(windows.cut().x.ravel(), np.arange(12), rtol=1e-5)
    assert (windows.gaps, windows.bridged) == (0, 3)


def test_what_cannot_be_meant_is_counted_by_reason() -> None:
    windows = _windows(gap_s=1.0, terms=Channel(low=-50, high=50, scale=2.0, offset=1.0))
    times = BEGAN + np.array([0, 0.1, 0.2, 0.2, 0.1, 0.3, 0.4, np.nan, 0.5])
    values = np.array([0, np.nan, 1, 1, 7, 1e9, np.inf, 3, 2.0])[:, np.newaxis]
    windows.add(times, values)
    expected = {Lost.NOT_FINITE: 3, Lost.ABSURD: 1, Lost.DUPLICATE: 1, Lost.OUT_OF_ORDER: 1}
    assert {why: windows.lost[why] for why in expected} == expected
    np.testing.assert_allclose(windows.cut().x, [[[1, 2, 3, 3 + 2 / 3]]], rtol=1e-4)
    _add_up(windows)


def test_channels_of_their_own_pace_meet_on_one_grid() -> None:
    windows = _windows(2, length=5, stride=5, gap_s=1.5)
    fast = BEGAN + np.arange(0, 2.4, 0.05)
    slow = BEGAN + 0.02 + np.arange(0, 3, 1.0)
    windows.add(fast, (fast - BEGAN)[:, np.newaxis], [0])
    assert not len(windows.cut().x)
    windows.add(slow, (slow - BEGAN)[:, np.newaxis], [1])
    made = windows.cut()
    assert len(made.x) == 4
    np.testing.assert_allclose(made.x[:, 0], made.x[:, 1], atol=1e-3)


def test_the_newest_value_stands_until_the_next() -> None:
    windows = _windows(length=6, stride=6, gap_s=1.0, way=Resample.PREVIOUS)
    windows.add(BEGAN + np.array([0, 0.25, 0.5]), np.array([[1.0], [2.0], [3.0]]))
    np.testing.assert_array_equal(windows.cut().x, [[[1, 1, 1, 2, 2, 3]]])


def test_a_mean_takes_all_samples_around_its_point() -> None:
    windows = _windows(length=3, stride=3, way=Resample.MEAN)
    times = BEGAN + np.arange(0, 0.4, 0.025)
    windows.add(times, np.tile([1.0, 3.0], 8)[:, np.newaxis])
    np.testing.assert_allclose(windows.cut().x[0, 0, 1:], [2.0, 2.0])


def test_a_clock_that_is_set_back_begins_a_new_grid() -> None:
    windows = _windows()
    times, values = _regular(12)
    windows.add(times, values)
    windows.add(times - 3600, values)
    assert windows.gaps == 1
    assert len(windows.cut().x) == 6
    _add_up(windows)


def test_one_time_in_the_future_costs_no_more_than_what_it_falls_into() -> None:
    windows = _windows()
    times, values = _regular(24)
    times[9] += 1e12
    windows.add(times, values)
    made = windows.cut()
    np.testing.assert_allclose(made.x[:, 0, 0], [0, 4, 10, 14, 18], rtol=1e-4)


def test_a_channel_that_falls_silent_holds_the_others_samples_for_a_while_only() -> None:
    windows = _windows(2, gap_s=0.5)
    times, values = _regular(10, 2)
    windows.add(times, values)
    windows.cut()
    for start in range(10, 2000, 10):
        windows.add(times + start / RATE, values[:, :1], [0])
    assert sum(len(each.times) for each in windows._samples) < 40
    assert windows.lost[Lost.UNPAIRED] > 1900
    windows.add(times + 2000 / RATE, values)
    assert len(windows.cut().x) == 2


@st.composite
def streams(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Times with jitter, gaps, doubles and steps back; values with holes; and where the stream is cut into pieces."""
    count = draw(st.integers(1, 60))
    steps = st.sampled_from([0.02, 0.1, 0.1, 0.1, 0.13, 0.2, 0.26, 0.9, 0.0, -0.1, -500.0])
    times = BEGAN + np.cumsum(draw(st.lists(steps, min_size=count, max_size=count)))
    number = st.one_of(st.floats(-10, 10), st.sampled_from([np.nan, np.inf, 1e12]))
    values = np.array(draw(st.lists(st.tuples(number, number), min_size=count, max_size=count)))
    return times, values, sorted(draw(st.lists(st.integers(0, count), max_size=6)))


def _fed(windows: Windows, times: np.ndarray, values: np.ndarray, cuts: list[int]) -> Made:
    for part, rows in zip(np.split(times, cuts), np.split(values, cuts), strict=True):
        windows.add(part, rows)
    return windows.cut()


@settings(deadline=None, max_examples=200)
@given(streams(), st.integers(1, 6), st.integers(1, 8), st.sampled_from(list(Resample)))
def test_pieces_do_not_matter_and_counts_add_up(
    stream: tuple[np.ndarray, np.ndarray, list[int]], length: int, stride: int, way: Resample
) -> None:
    times, values, cuts = stream
    terms = Channel(low=-100, high=100)
    whole, pieces = (_windows(2, length=length, stride=stride, way=way, terms=terms) for _ in range(2))
    first, second = _fed(whole, times, values, []), _fed(pieces, times, values, cuts)
    np.testing.assert_allclose(first.x, second.x, atol=1e-5)
    np.testing.assert_allclose(first.at, second.at, atol=1e-5)
    for windows in (whole, pieces):
        _add_up(windows)
        assert windows.given == values.size
    assert [whole.lost[why] for why in list(Lost)[:4]] == [pieces.lost[why] for why in list(Lost)[:4]]


@settings(deadline=None, max_examples=200)
@given(streams(), st.integers(2, 6), st.integers(1, 8), st.sampled_from([Resample.LINEAR, Resample.PREVIOUS]))
def test_no_window_spans_a_gap(
    stream: tuple[np.ndarray, np.ndarray, list[int]], length: int, stride: int, way: Resample
) -> None:
    """Channel 0 says the time: a window's values show between which samples its points lie."""
    times, values, cuts = stream
    values[:, 0] = times - BEGAN
    windows = _windows(2, length=length, stride=stride, way=way)
    made = _fed(windows, times, values, cuts)
    assert np.isfinite(made.x).all()
    spans = _spans(times, values, gap=0.25)
    for x, at in zip(made.x, made.at, strict=True):
        began = at - (length - 1) / RATE
        assert any(low - 1e-4 <= began and at <= high + 1e-4 for low, high in spans)
        if way is Resample.LINEAR:
            np.testing.assert_allclose(x[0], at - BEGAN + np.arange(1 - length, 1) / RATE, atol=1e-3)


def _spans(times: np.ndarray, values: np.ndarray, *, gap: float) -> list[tuple[float, float]]:
    """Stretches without a gap in channel 1, told sample by sample."""
    spans: list[tuple[float, float]] = []
    last = newest = -np.inf
    for at, value in zip(times, values[:, 1], strict=True):
        if at < newest - 60:
            newest = last = -np.inf
        if not np.isfinite(value):
            continue
        if at <= last:
            continue
        if spans and at - last <= gap + 1e-6:
            spans[-1] = (spans[-1][0], at)
        else:
            spans.append((at, at))
        last = at
        newest = max(newest, at)
    return spans


@settings(deadline=None, max_examples=100)
@given(st.lists(st.floats(0.01, 0.2), min_size=5, max_size=80), st.floats(-3, 3), st.floats(-3, 3))
def test_a_line_sampled_anyhow_is_the_line_on_the_grid(steps: list[float], slope: float, level: float) -> None:
    times = BEGAN + np.concatenate(([0.0], np.cumsum(steps)))
    windows = _windows(length=3, stride=1)
    windows.add(times, (slope * (times - BEGAN) + level)[:, np.newaxis])
    made = windows.cut()
    points = (made.at - BEGAN)[:, np.newaxis] + np.arange(-2, 1) / RATE
    np.testing.assert_allclose(made.x[:, 0], slope * points + level, atol=1e-4)
    assert len(made.x) == max(0, int((times[-1] - BEGAN) * RATE + 1e-5) + 1 - 2)
