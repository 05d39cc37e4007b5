import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge.pipelines.scene.masks import LAYOUTS, FrameMask
from edge.pipelines.scene.raster import slabs, touched
from edge.pipelines.sources.chain import Chain
from edge.pipelines.sources.frames import FrameSource, Intake
from edge.pipelines.sources.motion import MotionGate, MotionSettings
from edge.pipelines.sources.port import Sample
from shared.bundle import Schema
from shared.clock import SystemClock
from shared.errors import ContractError, FaultError
from shared.masks import Mask, masks_for, read_masks

SCHEMA = Schema(kind="detection", labels=["a"], input_shape=[3, 32, 32])
SIZES = st.tuples(st.integers(24, 90), st.integers(24, 90))
CORNER = st.tuples(st.floats(0, 1, width=32), st.floats(0, 1, width=32))


@st.composite
def boxes(draw: Any) -> Mask:
    x, y = sorted(draw(CORNER)), sorted(draw(CORNER))
    return Mask(box=(x[0] * 0.9, y[0] * 0.9, x[1] * 0.9 + 0.1, y[1] * 0.9 + 0.1))


polygons = st.lists(CORNER, min_size=3, max_size=6).map(lambda corners: Mask(polygon=corners))


def planes(frame: av.VideoFrame) -> Iterator[tuple[NDArray[Any], Any]]:
    """Each plane's samples [height, width, channels], and its layout; written apart from the product's own."""
    for plane, layout in zip(frame.planes, LAYOUTS[frame.format.name], strict=True):
        kind = np.uint16 if "10" in frame.format.name else np.uint8
        height, width = -(-frame.height // layout.down), -(-frame.width // layout.across)
        lines = np.frombuffer(plane, kind).reshape(-1, plane.line_size // np.dtype(kind).itemsize)
        yield lines[:height, : width * len(layout.dark)].reshape(height, width, -1), layout


def noise(name: str, width: int, height: int, seed: int) -> av.VideoFrame:
    frame, draws = av.VideoFrame(width, height, name), np.random.default_rng(seed)
    for samples, _ in planes(frame):
        samples[:] = draws.integers(0, 1024 if samples.dtype == np.uint16 else 256, samples.shape)
    return frame


def inside(mask: Mask, x: float, y: float) -> bool:
    """Whether a place winds around by the angle it sees: slow, and nothing like what it judges."""
    angles = [np.arctan2(cy - y, cx - x) for cx, cy in mask.corners]
    turns = [(b - a + np.pi) % (2 * np.pi) - np.pi for a, b in zip(angles, angles[1:] + angles[:1], strict=True)]
    return abs(sum(turns)) > np.pi


def hidden(mask: Mask, width: int, height: int) -> NDArray[np.bool_]:
    return np.array(
        [[inside(mask, (x + 0.5) / width, (y + 0.5) / height) for x in range(width)] for y in range(height)]
    )


def altered(frame: av.VideoFrame, under: NDArray[np.bool_], seed: int) -> av.VideoFrame:
    """Another frame, other only where `under`."""
    other = noise(frame.format.name, frame.width, frame.height, seed)
    for (samples, layout), (kept, _) in zip(planes(other), planes(frame), strict=True):
        cells = np.zeros(samples.shape[:2], np.bool_)
        for row, column in np.argwhere(under):
            cells[row // layout.down, column // layout.across] = True
        samples[~cells] = kept[~cells]
    return other


class Play:
    def __init__(self, *frames: av.VideoFrame) -> None:
        self.frames = frames

    def play(self, intake: Intake) -> None:
        for at, frame in enumerate(self.frames):
            intake.offer(frame, at=float(at))


async def downstream(mask: FrameMask, *frames: av.VideoFrame) -> tuple[list[Sample], dict[str, int]]:
    gate = MotionGate(MotionSettings(every_s=3.0))
    source = FrameSource(
        Play(*frames), stream="cam", clock=SystemClock(), chain=Chain(mask=mask, gates=[gate]), waits=True
    )
    source.fit(SCHEMA)
    samples: list[Sample] = []
    while taken := await source.take(8):
        samples += taken
    await source.close()
    return samples, dict(source.dropped)


def test_a_mask_that_is_thinner_than_a_pixel_hides_the_pixels_it_lies_on() -> None:
    pixels = touched([(0.1, 0.501), (0.9, 0.501), (0.9, 0.502)], width=100, height=100)
    assert pixels[50, 10:90].all()
    assert pixels.sum() < 3 * 84


@settings(deadline=None, max_examples=60)
@given(mask=boxes() | polygons, size=SIZES, name=st.sampled_from(sorted(LAYOUTS)), seed=st.integers(0, 1 << 30))
def test_no_change_under_a_mask_changes_anything_that_comes_later(
    mask: Mask, size: tuple[int, int], name: str, seed: int
) -> None:
    width, height = size
    under = hidden(mask, width, height)
    first, second = noise(name, width, height, seed), noise(name, width, height, seed + 1)
    shows, drops = asyncio.run(downstream(FrameMask([mask]), first, second, altered(second, under, seed + 2)))
    other = altered(noise(name, width, height, seed), under, seed + 3)
    others, dropped = asyncio.run(
        downstream(FrameMask([mask]), other, altered(second, under, seed + 4), altered(second, under, seed + 5))
    )
    assert (len(shows), drops) == (len(others), dropped)  # the gate judged alike
    for one, two in zip(shows, others, strict=True):
        assert one.id == two.id
        assert np.array_equal(one.x, two.x)
        assert one.picture is not None
        assert two.picture is not None
        assert np.array_equal(one.picture(), two.picture())


@settings(deadline=None, max_examples=40)
@given(mask=boxes() | polygons, size=SIZES)
def test_pixels_around_a_mask_stay_and_it_reaches_hardly_beyond(mask: Mask, size: tuple[int, int]) -> None:
    width, height = size
    pixels = touched(mask.corners, width=width, height=height)
    assert not (hidden(mask, width, height) & ~pixels).any()
    again = np.zeros_like(pixels)
    for slab in slabs(pixels):
        assert not again[slab].any()
        again[slab] = True
    assert np.array_equal(again, pixels)
    frame = noise("gray", width, height, 1)
    before = next(planes(frame))[0].copy()
    seen = FrameMask([mask])(frame)
    assert isinstance(seen, av.VideoFrame)
    after = next(planes(seen))[0]
    assert np.array_equal(before[~pixels], after[~pixels])
    assert (after[pixels] == 16).all()


def test_a_box_covers_itself_and_one_or_two_pixels_more() -> None:
    pixels = touched(Mask(box=(0.25, 0.25, 0.75, 0.75)).corners, width=100, height=100)
    assert pixels[25:75, 25:75].all()
    assert not pixels[:23].any()
    assert not pixels[77:].any()
    assert not pixels[:, :23].any()
    assert not pixels[:, 78:].any()


def test_the_decoders_own_memory_is_left_alone(tmp_path: Path) -> None:
    """Later frames are decoded from earlier ones: what is covered must not creep over the picture."""
    path = tmp_path / "film.mp4"
    coarse = np.random.default_rng(1).integers(0, 256, (12, 16, 3), np.uint8)
    still = coarse.repeat(8, axis=0).repeat(8, axis=1)  # blocks, which an encoder moves and does not send anew
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        stream.bit_rate = 4_000_000
        for step in range(12):  # moves to the right: each frame takes from under the mask what it then shows beside it
            frame = av.VideoFrame.from_ndarray(np.roll(still, 6 * step, axis=1), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    mask = FrameMask([Mask(box=(0, 0, 0.5, 1))])
    with av.open(str(path)) as plain, av.open(str(path)) as masked:
        for container in (plain, masked):
            container.streams.video[0].thread_type = "NONE"  # as sources decode: no frame is ready before it is taken
        for one, two in zip(plain.decode(video=0), masked.decode(video=0), strict=True):
            wanted, seen = next(planes(one))[0], next(planes(mask(two)))[0]
            assert np.array_equal(wanted[:, 68:], seen[:, 68:])
            assert (seen[:, :64] == 16).all()


@given(seed=st.integers(0, 1000), name=st.sampled_from(sorted(LAYOUTS)))
@settings(deadline=None, max_examples=30)
def test_pixels_are_the_averages_of_squares_and_nothing_else(seed: int, name: str) -> None:
    """Whatever is moved about within the squares, the picture stays the same."""
    frame, shuffled = noise(name, 96, 72, seed), noise(name, 96, 72, seed)
    for (samples, layout), (kept, _) in zip(planes(shuffled), planes(frame), strict=True):
        tall, wide = 6 // layout.down, 6 // layout.across
        samples[:] = kept
        for row in range(0, samples.shape[0], tall):
            samples[row : row + tall] = samples[row : row + tall][::-1]
        for column in range(0, samples.shape[1], wide):
            samples[:, column : column + wide] = samples[:, column : column + wide][:, ::-1]
    mask = FrameMask([Mask(box=(0, 0, 1, 1), style="pixels")])
    one, two = mask(frame), mask(shuffled)
    for (a, _), (b, _) in zip(planes(one), planes(two), strict=True):
        assert np.array_equal(a, b)
        assert len(np.unique(a)) <= 16 * 12 * a.shape[2]


def test_black_lies_over_pixels() -> None:
    mask = FrameMask([Mask(box=(0, 0, 1, 1), style="pixels"), Mask(box=(0, 0, 1, 1))])
    assert (next(planes(mask(noise("gray", 64, 48, 1))))[0] == 16).all()


def test_a_policy_adds_and_never_takes_away() -> None:
    own, fleets = Mask(box=(0, 0, 0.5, 0.5)), Mask(box=(0.5, 0.5, 1, 1))
    mask = FrameMask([own])
    mask.policy([fleets, own])
    assert list(mask.masks) == [own, fleets]
    mask.policy([])
    assert list(mask.masks) == [own]


async def test_a_policy_that_nobody_understands_lets_no_frame_pass() -> None:
    mask = FrameMask([])
    mask.policy(None)
    samples, dropped = await downstream(mask, noise("gray", 64, 48, 1), noise("gray", 64, 48, 2))
    assert (samples, dropped) == ([], {"withheld": 2, "stopped": 0})


async def test_pictures_that_cannot_be_masked_are_not_shown() -> None:
    with pytest.raises(FaultError, match="rgb48le cannot be masked"):
        await downstream(FrameMask([Mask(box=(0, 0, 1, 1))]), av.VideoFrame(64, 48, "rgb48le"))


def test_frames_of_another_size_are_masked_in_the_same_place() -> None:
    mask = FrameMask([Mask(box=(0, 0, 0.5, 1))])
    for width, height in ((64, 48), (40, 80), (64, 48)):
        samples = next(planes(mask(noise("gray", width, height, 1))))[0]
        assert (samples[:, : width // 2] == 16).all()
        assert not (samples[:, width // 2 + 3 :] == 16).all()


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"box": [0, 0, 1, 1], "polygon": [[0, 0], [1, 0], [1, 1]]},
        {"box": [0.5, 0, 0.5, 1]},
        {"box": [0, 0, 1, 1.5]},
        {"box": [0, 0, 1, "1"]},
        {"polygon": [[0, 0], [1, 1]]},
        {"polygon": [[0, 0], [1, 0], [1, 1]], "style": "invisible"},
        {"box": [0, 0, 1, 1], "except": "the boss"},
    ],
)
def test_masks_that_make_no_sense_are_refused(said: Any) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(said, Mask)
    with pytest.raises(ContractError):
        read_masks([said])


def test_a_policy_says_what_holds_for_all_and_for_one() -> None:
    one, two, three = ({"box": [0, 0, 1, share]} for share in (0.1, 0.2, 0.3))
    policy = {"*": {"gate": [one]}, "cam-1": {"*": [two], "yard": [three]}}
    heights = lambda **who: [mask.box[3] for mask in masks_for(policy, **who) if mask.box]  # noqa: E731
    assert heights(device="cam-1", pipeline="gate") == [0.1, 0.2]
    assert heights(device="cam-1", pipeline="yard") == [0.2, 0.3]
    assert heights(device="cam-2", pipeline="yard") == []


@pytest.mark.parametrize("policy", [[], {"*": []}, {"*": {"gate": {}}}, {"cam-1": {"*": "all"}}, {"*": {"*": [1]}}, 3])
def test_a_policy_that_may_be_about_a_pipeline_and_is_not_understood_is_an_error(policy: Any) -> None:
    with pytest.raises(ContractError):
        masks_for(policy, device="cam-1", pipeline="gate")


def test_a_fault_in_what_is_said_of_others_is_not_ours() -> None:
    assert masks_for({"cam-2": 3, "*": {"yard": 3}}, device="cam-1", pipeline="gate") == []
