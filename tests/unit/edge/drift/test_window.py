import numpy as np

from edge.drift.window import DriftSettings, DriftWindow, Observation
from shared.sketch import Sketch


def _seen(count: int, *, release: str = "toy-1") -> Observation:
    return Observation(
        release=release,
        features={"f": np.arange(count, dtype=np.float32)},
        confidence=[0.5] * count,
        labels=["a"] * count,
    )


def _window(**settings: float) -> DriftWindow:
    return DriftWindow(pipeline="p", model="toy", settings=DriftSettings(**settings))  # type: ignore[arg-type]  # by name


def test_a_window_ends_with_the_batch_that_fills_it() -> None:
    window = _window(inputs=10)
    assert window.add(_seen(4), at=1.0) == []
    assert window.add(_seen(4), at=2.0) == []
    (report,) = window.add(_seen(4), at=3.0)
    assert (report.count, report.since, report.until) == (12, 1.0, 3.0)
    assert Sketch.from_bytes(report.features["f"]).count == 12
    assert Sketch.from_bytes(report.confidence).quantile(0.5) == 0.5
    assert report.classes == {"a": 12}
    assert window.flush(at=4.0) == []


def test_a_window_ends_with_its_release() -> None:
    window = _window(inputs=10)
    window.add(_seen(4), at=1.0)
    (old,) = window.add(_seen(2, release="toy-2"), at=2.0)
    (new,) = window.flush(at=3.0)
    assert [(report.release, report.count) for report in (old, new)] == [("toy-1", 4), ("toy-2", 2)]
    assert new.since == 2.0


def test_a_window_that_is_late_and_full_gives_two_reports() -> None:
    window = _window(inputs=10)
    window.add(_seen(4), at=1.0)
    assert [report.count for report in window.add(_seen(10, release="toy-2"), at=2.0)] == [4, 10]


def test_a_window_ends_when_its_time_is_over() -> None:
    window = _window(inputs=10, seconds=30)
    assert window.tick(at=1000.0) == []
    window.add(_seen(1), at=1000.0)
    assert window.tick(at=1029.0) == []
    assert [report.count for report in window.tick(at=1030.0)] == [1]


def test_no_more_inputs_a_second_are_looked_at_than_wanted() -> None:
    for batch, step_s in ((1, 0.004), (16, 0.001), (1, 0.1)):
        window = _window(rate=50.0)
        looked = sum(batch * window.wants(batch, at=index * step_s) for index in range(round(20 / step_s)))
        assert looked <= 50 * 21 + batch
        assert looked >= min(50 * 20, round(20 / step_s) * batch) - 16


def test_what_was_not_looked_at_saves_up_no_burst() -> None:
    window = _window(rate=10.0)
    assert sum(window.wants(1, at=1000.0) for _ in range(100)) == 10
