from collections.abc import Callable, Iterator

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from edge.pipelines.sources.film import luma
from edge.pipelines.sources.frozen import FrozenGate
from edge.pipelines.sources.motion import MotionGate, MotionSettings
from edge.pipelines.sources.port import Drop
from shared.clock import VirtualClock

RATE = 10


def scene(seed: int = 0, *, light: int = 80, noise: int = 6) -> Iterator[NDArray[np.uint8]]:
    """An empty street as a camera sees it, with a sensor's noise."""
    random = np.random.default_rng(seed)
    ground = random.integers(light - 20, light + 20, (120, 160), dtype=np.uint8)
    while True:
        yield np.clip(ground.astype(int) + random.integers(-noise, noise + 1, ground.shape), 0, 255).astype(np.uint8)


def frame(image: NDArray[np.uint8]) -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(image, format="gray8").reformat(format="yuv420p")


def passed(gate: MotionGate, images: Iterator[NDArray[np.uint8]], seconds: tuple[float, float]) -> list[float]:
    """Times of the frames that pass, RATE a second."""
    times = [step / RATE for step in range(int(seconds[0] * RATE), int(seconds[1] * RATE))]
    return [at for at, image in zip(times, images, strict=False) if gate(frame(image), at) is None]


def someone(image: NDArray[np.uint8], at: float, *, tall: int = 24) -> NDArray[np.uint8]:
    left = int(at * 15) % 140
    changed = image.copy()
    changed[60 : 60 + tall, left : left + tall // 2] = 200
    return changed


def test_an_empty_street_passes_only_now_and_then() -> None:
    gate = MotionGate(MotionSettings(every_s=10))
    times = passed(gate, scene(), (0, 60))
    assert times == pytest.approx([0, 10, 20, 30, 40, 50])


def test_who_walks_by_passes_and_a_little_longer() -> None:
    gate, empty = MotionGate(MotionSettings(every_s=1000, hold_s=2)), scene()
    assert passed(gate, empty, (0, 5)) == [0]
    assert len(passed(gate, (someone(image, 5 + index / RATE) for index, image in enumerate(empty)), (5, 9))) == 40
    after = passed(gate, empty, (9, 20))
    assert 1.5 <= len(after) / RATE <= 4


def test_motion_that_has_begun_goes_on_with_less_than_it_takes_to_begin() -> None:
    def shrinking(first: int) -> Iterator[NDArray[np.uint8]]:
        for index, image in enumerate(scene()):
            yield someone(image, index / RATE, tall=24 if index < first else 9) if index else image

    begun = MotionGate(MotionSettings(share=0.006, every_s=1000, hold_s=1))
    assert len(passed(begun, shrinking(5), (0, 6))) >= 58
    never = MotionGate(MotionSettings(share=0.006, every_s=1000, hold_s=1))
    assert passed(never, shrinking(0), (0, 6)) == [0]


def test_light_that_changes_everywhere_is_no_motion() -> None:
    def dusk() -> Iterator[NDArray[np.uint8]]:
        for index, image in enumerate(scene(light=140)):
            yield np.clip(image.astype(int) - (60 if index > 50 else index), 0, 255).astype(np.uint8)

    gate = MotionGate(MotionSettings(every_s=1000))
    assert passed(gate, dusk(), (0, 20)) == [0]


def test_what_has_come_to_stay_becomes_background() -> None:
    def parked() -> Iterator[NDArray[np.uint8]]:
        for index, image in enumerate(scene()):
            yield someone(image, 1.0) if index > 30 else image

    gate = MotionGate(MotionSettings(every_s=1000, adapt_s=1, hold_s=0.5))
    times = passed(gate, parked(), (0, 60))
    assert 3.0 < times[1] < 3.3
    assert times[-1] < 40


def test_a_clock_that_starts_anew_learns_the_background_anew() -> None:
    gate, empty = MotionGate(MotionSettings(every_s=1000)), scene()
    assert passed(gate, empty, (100, 110)) == [100]
    assert passed(gate, scene(seed=9), (0, 10)) == [0]


@pytest.mark.parametrize("form", ["yuv420p", "yuvj420p", "nv12", "rgb24", "yuyv422", "gray8", "yuv420p10le"])
def test_brightness_is_read_from_any_format(form: str) -> None:
    image = np.zeros((48, 70), np.uint8)
    image[10:20, 30:40] = 200
    bright = luma(av.VideoFrame.from_ndarray(image, format="gray8").reformat(format=form))
    assert bright.shape == (48, 70)
    assert bright[12:18, 32:38].mean() > 150
    assert bright[30:, :].mean() < 40


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def frozen(clock: VirtualClock) -> FrozenGate:
    return FrozenGate(frozen_s=5, gap_s=3, clock=clock)


def look(
    gate: FrozenGate, clock: VirtualClock, image: Callable[[int], NDArray[np.uint8]], seconds: float
) -> list[bool]:
    verdicts = []
    for index in range(int(seconds * RATE)):
        clock.advance(1 / RATE)
        verdicts.append(gate(frame(image(index)), 0.0) is Drop.FROZEN)
    return verdicts


def test_the_same_picture_for_too_long_is_frozen_until_another_comes(frozen: FrozenGate, clock: VirtualClock) -> None:
    empty = scene()
    still = next(empty)
    verdicts = look(frozen, clock, lambda index: still, 8)
    assert verdicts.index(True) in {50, 51}
    assert all(verdicts[51:])
    assert frozen.since is not None
    assert not any(look(frozen, clock, lambda index: next(empty), 8))
    assert frozen.since is None


def test_a_quiet_scene_is_not_frozen(frozen: FrozenGate, clock: VirtualClock) -> None:
    empty = scene(noise=1)
    assert not any(look(frozen, clock, lambda index: next(empty), 30))


def test_silence_between_two_equal_pictures_does_not_count(frozen: FrozenGate, clock: VirtualClock) -> None:
    still = next(scene())
    assert not any(look(frozen, clock, lambda index: still, 3))
    clock.advance(60)
    assert not any(look(frozen, clock, lambda index: still, 3))


def test_what_is_frozen_stays_so_over_a_gap(frozen: FrozenGate, clock: VirtualClock) -> None:
    still = next(scene())
    look(frozen, clock, lambda index: still, 7)
    clock.advance(60)
    assert all(look(frozen, clock, lambda index: still, 1))
