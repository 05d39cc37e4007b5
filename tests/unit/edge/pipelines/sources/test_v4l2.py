"""What can be proven of a local camera without one."""

import asyncio
import errno
from pathlib import Path
from random import Random

import av
import pytest

from edge.pipelines.sources.live import CameraError, LiveSettings, live_source
from edge.pipelines.sources.v4l2 import V4l2Camera
from shared.bundle import Schema
from shared.clock import SystemClock


def test_only_what_is_asked_for_is_said_to_the_device() -> None:
    assert V4l2Camera(device=Path("/dev/video0")).options() == {}
    asked = V4l2Camera(device=Path("/dev/video0"), pixels="mjpeg", size=(1280, 720), fps=12.5)
    assert asked.options() == {"input_format": "mjpeg", "video_size": "1280x720", "framerate": "12.5"}


def test_a_device_that_is_not_there_names_those_that_are(tmp_path: Path) -> None:
    (tmp_path / "video7").touch()
    camera = V4l2Camera(device=tmp_path / "video0", others=lambda: sorted(tmp_path.glob("video*")))
    with pytest.raises(CameraError, match=rf"there is no {tmp_path}/video0; there is {tmp_path}/video7\. Plug it in"):
        camera.open()
    nowhere = V4l2Camera(device=tmp_path / "video0", others=list)
    with pytest.raises(CameraError, match="no camera at all"):
        nowhere.open()


def test_a_file_is_no_camera(tmp_path: Path) -> None:
    (tmp_path / "video0").touch()
    with pytest.raises(CameraError, match="is no camera"):
        V4l2Camera(device=tmp_path / "video0").open()


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.EACCES, "Add the agent's user to the group `video`"),
        (errno.EBUSY, "in use by another program"),
        (errno.EINVAL, "v4l2-ctl --list-formats-ext"),
        (errno.EIO, "Input/output error"),
    ],
)
def test_each_refusal_has_its_remedy(monkeypatch: pytest.MonkeyPatch, number: int, said: str) -> None:
    def refuse(*args: object, **settings: object) -> None:
        assert (args, settings) == (("/dev/video0",), {"format": "video4linux2", "options": {"framerate": "30"}})
        raise av.FFmpegError(number, "Input/output error")

    monkeypatch.setattr(av, "open", refuse)
    with pytest.raises(CameraError, match=said):
        V4l2Camera(device=Path("/dev/video0"), fps=30).open()


async def test_a_camera_that_is_unplugged_is_said_and_waited_for(tmp_path: Path) -> None:
    camera = V4l2Camera(device=tmp_path / "video0", others=list)
    source = live_source(
        camera, LiveSettings(silent_s=1.0, retry_s=0.2), stream="cam", clock=SystemClock(), random=Random(1)
    )
    source.fit(Schema(kind="detection", labels=["a"], input_shape=[3, 32, 32]))
    waiting = asyncio.create_task(source.take(1))
    async with asyncio.timeout(60):
        while not (told := source.stalls()):
            await asyncio.sleep(0.02)
    await source.close()
    assert await waiting == []
    assert told[0].reason == "unreachable"
    assert "no camera at all" in told[0].text
