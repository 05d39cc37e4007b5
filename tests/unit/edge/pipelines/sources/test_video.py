import asyncio
import time
from pathlib import Path

import numpy as np
import pytest

from edge.pipelines.sources.film import Scaler, picture, play
from edge.pipelines.sources.frames import FrameSource
from edge.pipelines.sources.port import Sample
from edge.pipelines.sources.video import VideoSettings, video_source
from shared.bundle import Schema
from shared.clock import SystemClock
from shared.errors import FaultError
from tests.films import make_film


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_film(tmp_path_factory.mktemp("film") / "grey.mp4")


def schema(side: int = 32) -> Schema:
    return Schema(kind="detection", labels=["a"], input_shape=[3, side, side])


def source(film: Path, **settings: object) -> FrameSource:
    made = video_source(VideoSettings(path=film, **settings), stream="cam", clock=SystemClock())  # type: ignore[arg-type]  # test settings
    made.fit(schema())
    return made


async def drain(source: FrameSource, *, most: int = 1000) -> list[Sample]:
    samples: list[Sample] = []
    while len(samples) < most and (taken := await source.take(4)):
        samples += taken
    await source.close()
    return samples


def test_a_film_gives_every_frame_at_its_time(film: Path) -> None:
    times = [at for at, _ in play(film, fps=None, loop=False)]
    assert times == pytest.approx([index / 10 for index in range(20)])


def test_fewer_frames_a_second_leave_some_out(film: Path) -> None:
    times = [at for at, _ in play(film, fps=5, loop=False)]
    assert times == pytest.approx([index / 5 for index in range(10)])
    times = [at for at, _ in play(film, fps=3, loop=False)]
    assert len(times) == 6


def test_more_frames_a_second_than_the_film_has_are_not_invented(film: Path) -> None:
    assert len(list(play(film, fps=60, loop=False))) == 20


def test_a_loop_goes_on_counting(film: Path) -> None:
    frames = play(film, fps=None, loop=True)
    times = [next(frames)[0] for _ in range(45)]
    assert times == pytest.approx([index / 10 for index in range(45)])


@pytest.mark.parametrize("name", ["missing.avi", "text.avi"])
def test_what_is_no_film_is_a_fault(tmp_path: Path, name: str) -> None:
    (tmp_path / "text.avi").write_text("no film")
    with pytest.raises(FaultError, match="cannot play"):
        next(play(tmp_path / name, fps=None, loop=True))


def test_frames_become_inputs_from_minus_one_to_one(film: Path) -> None:
    scaler = Scaler()
    for index, (_, frame) in enumerate(play(film, fps=None, loop=False)):
        x = scaler.scale(frame, (3, 30, 40))
        assert (x.shape, x.dtype, x.flags.c_contiguous) == ((3, 30, 40), np.float32, True)
        assert np.allclose(x, 10 * index * 2 / 255 - 1, atol=0.05)
    assert picture(frame).shape == (48, 64, 3)


async def test_every_frame_comes_once_in_order_when_nobody_hurries(film: Path) -> None:
    samples = await drain(source(film))
    assert [sample.id for sample in samples] == [f"cam:{index}" for index in range(20)]
    assert samples[3].x.shape == (3, 32, 32)
    assert samples[3].picture is not None
    assert samples[3].picture().shape == (48, 64, 3)


async def test_a_paced_film_runs_in_its_own_time(film: Path) -> None:
    started = time.monotonic()
    samples = await drain(source(film, fps=10.0), most=6)
    assert len(samples) >= 6
    assert time.monotonic() - started > 0.45
    assert samples[0].ready <= samples[1].ready


async def test_frames_that_nobody_takes_are_dropped_and_counted(film: Path) -> None:
    camera = source(film, fps=10.0, loop=True, queue=2)
    first = await camera.take(1)
    await asyncio.sleep(0.75)
    later = await camera.take(4)
    await camera.close()
    assert first[0].id == "cam:0"
    assert len(later) == 2
    assert camera.dropped["late"] >= 3
    assert int(later[0].id.split(":")[1]) == camera.dropped["late"] + 1


async def test_another_model_shape_rescales_what_is_already_queued(film: Path) -> None:
    camera = source(film)
    await camera.take(1)
    await asyncio.sleep(0.1)
    camera.fit(schema(16))
    samples = await drain(camera)
    assert {sample.x.shape for sample in samples} == {(3, 16, 16)}
    assert len(samples) == 19


async def test_a_film_that_cannot_be_played_is_a_fault(tmp_path: Path) -> None:
    camera = source(tmp_path / "missing.avi")
    with pytest.raises(FaultError, match="cannot play"):
        await camera.take(1)
    await camera.close()


async def test_closing_ends_a_waiting_take(film: Path) -> None:
    camera = source(film, fps=0.2, loop=True)
    await camera.take(1)
    waiting = asyncio.create_task(camera.take(1))
    await asyncio.sleep(0.05)
    started = time.monotonic()
    await camera.close()
    assert await waiting == []
    assert time.monotonic() - started < 4  # a frame comes every five seconds


def test_a_model_that_takes_no_image_is_a_fault(film: Path) -> None:
    with pytest.raises(FaultError, match="camera"):
        source(film).fit(Schema(kind="classification", labels=[], input_shape=[6, 100]))
