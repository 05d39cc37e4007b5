"""Frames left out on purpose, on a virtual clock."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from edge.pipelines.sources.port import Drop
from edge.pipelines.tempo import LEAST, Tempo, Thinning


def _camera(*, work_ms: float, target_ms: float, fps: float = 25.0, seconds: float = 60.0) -> tuple[list[float], float]:
    """Latencies of a camera whose model takes `work_ms`, over a queue of four that drops its oldest; the last share."""
    tempo = Tempo(target_ms=target_ms)
    thinning = Thinning(tempo)
    queue: list[float] = []
    latencies: list[float] = []
    free = 0.0
    for index in range(int(fps * seconds)):
        now = index / fps
        while queue and free <= now:
            begun = max(free, queue[0])
            free = begun + work_ms / 1e3
            latencies.append((free - queue.pop(0)) * 1e3)
            tempo.answered(latencies[-1], at=free)
        if thinning(None, now) is None:
            queue = [*queue, now][-4:]
    return latencies, thinning.share


def test_a_camera_whose_model_is_too_slow_comes_down_to_what_it_can_do_in_time() -> None:
    latencies, share = _camera(work_ms=100, target_ms=200)
    assert max(latencies[:40]) > 300  # at first it queues
    tail = latencies[len(latencies) // 2 :]
    assert sum(each > 200 for each in tail) < 0.2 * len(tail)
    assert 0.15 < share < 0.5  # 10 of 25 frames a second can be answered


def test_a_camera_that_is_in_time_loses_no_frame() -> None:
    latencies, share = _camera(work_ms=10, target_ms=200)
    assert share == 1.0
    assert len(latencies) >= 25 * 60 - 1


def test_it_takes_more_again_once_the_model_is_fast() -> None:
    tempo = Tempo(target_ms=100)
    for second in range(30):
        tempo.answered(500, at=second)
    assert tempo.share < 0.1
    for second in range(30, 60):
        tempo.answered(90, at=second)
    assert tempo.share < 0.1  # in time, but with nothing to spare
    for second in range(60, 120):
        tempo.answered(20, at=second)
    assert tempo.share == 1.0


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 5000), st.floats(0.001, 3)), max_size=200))
def test_no_camera_is_left_blind(answers: list[tuple[float, float]]) -> None:
    tempo, at = Tempo(target_ms=100), 0.0
    for latency_ms, passed in answers:
        at += passed
        tempo.answered(latency_ms, at=at)
        assert LEAST <= tempo.share <= 1


@settings(max_examples=100, deadline=None)
@given(st.floats(LEAST, 1), st.integers(1, 400))
def test_what_passes_is_its_share_evenly_spread(share: float, frames: int) -> None:
    thinning = Thinning()
    thinning.limit = share
    answers = [thinning(None, 0.0) for _ in range(frames)]
    assert set(answers) <= {None, Drop.SKIPPED}
    passed = [index for index, each in enumerate(answers) if each is None]
    assert abs(len(passed) - share * frames) <= 2
    gaps = [after - before for before, after in pairwise(passed[1:])]
    assert all(1 / share - 1.01 <= gap <= 1 / share + 1.01 for gap in gaps)


def test_the_device_and_the_tempo_both_hold_back() -> None:
    tempo = Tempo(target_ms=100)
    thinning = Thinning(tempo)
    thinning.limit = 0.5
    assert thinning.share == 0.5
    for second in range(30):
        thinning.answered(500, at=second)
    assert thinning.share == tempo.share < 0.5
