"""A camera over RTSP, on loopback: what is told, counted and never said when it fails in each way that cameras fail."""

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest

from edge.pipelines.sources import live
from edge.pipelines.sources.frames import FrameSource
from edge.pipelines.sources.live import CameraError, LiveSettings, live_source
from edge.pipelines.sources.rtsp import Credentials, RtspCamera
from edge.pipelines.sources.stalls import Reason
from shared.bundle import Schema
from shared.clock import SystemClock
from shared.errors import RefusedError
from shared.messages import Stall
from tests.rtsp import Camera, Unit, make_clip

SCHEMA = Schema(kind="detection", labels=["a"], input_shape=[3, 32, 32])
SECRET = "s3cr3t/@:pass"
GENEROUS_S = 60.0


@pytest.fixture(scope="module")
def clip() -> Sequence[Unit]:
    return make_clip()


@pytest.fixture
def camera(clip: Sequence[Unit]) -> Iterator[Camera]:
    with Camera(clip) as camera:
        yield camera


class Viewer:
    """Takes all frames of a camera, and keeps what is told."""

    def __init__(self, source: FrameSource) -> None:
        self.source = source
        self.taken = 0
        self.ats: list[float] = []
        self.stalls: list[Stall] = []
        self.slow_s = 0.0

    async def watch(self) -> None:
        while samples := await self.source.take(4):
            self.taken += len(samples)
            self.ats += [sample.at for sample in samples]
            await asyncio.sleep(self.slow_s)

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(GENEROUS_S):
            while not condition():
                self.stalls += self.source.stalls()
                await asyncio.sleep(0.02)

    async def sees(self, frames: int = 5) -> None:
        """Wait for some more frames."""
        goal = self.taken + frames
        await self.until(lambda: self.taken >= goal)


@contextlib.asynccontextmanager
async def viewing(camera: RtspCamera, **settings: Any) -> AsyncIterator[Viewer]:
    wanted = {"fps": None, "silent_s": 1.0, "frozen_s": 1.0, "retry_s": 0.5} | settings
    source = live_source(camera, LiveSettings(**wanted), stream="cam", clock=SystemClock(), random=Random(1))
    source.fit(SCHEMA)
    viewer = Viewer(source)
    task = asyncio.create_task(viewer.watch())
    try:
        yield viewer
    finally:
        await source.close()
        await task
        viewer.stalls += source.stalls()
    assert source.received == viewer.taken + sum(source.dropped.values())


def of(camera: Camera, **settings: Any) -> RtspCamera:
    return RtspCamera(**({"url": camera.url, "open_s": 5.0, "silent_s": 1.0} | settings))


@pytest.mark.parametrize("transport", ["tcp", "udp"])
async def test_frames_come_with_their_times(camera: Camera, transport: Any) -> None:
    async with viewing(of(camera, transport=transport), frozen_s=0) as viewer:
        await viewer.sees(40)
    steps = sorted(later - at for at, later in zip(viewer.ats[10:], viewer.ats[11:], strict=False))
    assert steps[len(steps) // 2] == pytest.approx(0.04, abs=0.01)
    assert viewer.ats[-1] <= time.time()
    assert [line.split()[0] for line in camera.asked][:2] == ["OPTIONS", "DESCRIBE"]


async def test_h265_is_read_too() -> None:
    with Camera(make_clip(codec="h265"), codec="h265") as camera:
        async with viewing(of(camera)) as viewer:
            await viewer.sees(20)
    assert not viewer.stalls


@pytest.mark.parametrize("scheme", ["basic", "digest"])
async def test_credentials_open_a_camera_and_are_said_nowhere(
    clip: Sequence[Unit], scheme: Any, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    with Camera(clip, user="own er", password=SECRET, scheme=scheme) as camera:
        good = of(camera, credentials=Credentials(user="own er", password=SECRET))
        async with viewing(good) as viewer:
            await viewer.sees()
            camera.mode = "silent"
            await viewer.until(lambda: viewer.stalls)
            camera.password = "an0ther"
            await viewer.until(lambda: len([line for line in camera.asked if "DESCRIBE" in line]) >= 4)
        bad = of(camera, credentials=Credentials(user="own er", password=SECRET[::-1]))
        with pytest.raises(CameraError, match="refuses the credentials") as refused:
            bad.open()
        with pytest.raises(CameraError, match="asks for credentials"):
            of(camera).open()
    printed = "".join(capfd.readouterr())
    told = f"{viewer.stalls} {good} {good.name} {bad} {refused.value!r} {caplog.text} {printed}"
    for secret in (SECRET, SECRET[::-1], "s3cr3t", "channel=1"):
        assert secret not in told
    assert refused.value.__cause__ is None


async def test_silence_is_noticed_within_its_time_and_the_camera_tried_anew(camera: Camera) -> None:
    async with viewing(of(camera)) as viewer:
        await viewer.sees()
        camera.mode = "silent"
        await viewer.until(lambda: viewer.stalls)
        asked = len(camera.asked)
        await viewer.until(lambda: len(camera.asked) > asked + 3)
        assert len(viewer.stalls) == 1  # what the demuxer still held is no sign of life
        camera.mode = "live"
        await viewer.until(lambda: len(viewer.stalls) == 2)
    first, over = viewer.stalls
    assert (first.reason, first.until) == ("silent", 0.0)
    assert 1.0 <= first.noticed - first.since < 20.0
    assert (over.since, over.noticed) == (first.since, first.noticed)
    assert over.until > over.noticed


async def test_a_frozen_picture_is_noticed_and_dropped_until_it_moves(camera: Camera) -> None:
    async with viewing(of(camera)) as viewer:
        await viewer.sees()
        camera.mode = "frozen"
        await viewer.until(lambda: viewer.stalls)
        asked = len(camera.asked)
        await viewer.until(lambda: len(camera.asked) > asked)
        camera.mode = "live"
        await viewer.until(lambda: len(viewer.stalls) == 2)
    assert [stall.reason for stall in viewer.stalls] == ["frozen", "frozen"]
    assert 1.0 <= viewer.stalls[0].noticed - viewer.stalls[0].since < 20.0
    assert viewer.source.dropped["frozen"] >= 1


async def test_packets_of_noise_are_counted_and_noticed(camera: Camera) -> None:
    async with viewing(of(camera)) as viewer:
        await viewer.sees()
        camera.mode = "broken"
        await viewer.until(lambda: viewer.stalls)
        camera.mode = "live"
        await viewer.until(lambda: len(viewer.stalls) == 2)
    assert viewer.stalls[0].reason == "broken"
    assert viewer.source.dropped["broken"] >= 10


async def test_frames_larger_than_any_camera_s_are_not_decoded(camera: Camera, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "MAX_PIXELS", 160 * 120 - 1)
    async with viewing(of(camera)) as viewer:
        await viewer.until(lambda: viewer.stalls)
    assert viewer.stalls[0].reason in {"broken", "unreachable", "ended"}
    assert viewer.taken == 0


async def test_a_camera_that_vanishes_is_found_again(camera: Camera) -> None:
    async with viewing(of(camera)) as viewer:
        await viewer.sees()
        camera.stop()
        await viewer.until(lambda: viewer.stalls)
        await asyncio.sleep(0.5)
        camera.start()
        await viewer.until(lambda: len(viewer.stalls) == 2)
        await viewer.sees()
    assert viewer.stalls[0].reason == "ended"
    assert viewer.stalls[1].until - viewer.stalls[1].since >= 0.5


async def test_a_camera_that_was_never_there_is_said_at_once(clip: Sequence[Unit]) -> None:
    camera = Camera(clip)
    with camera:
        pass
    async with viewing(of(camera)) as viewer:
        await viewer.until(lambda: viewer.stalls)
        camera.start()
        await viewer.sees()
    camera.stop()
    assert viewer.stalls[0].reason == "unreachable"
    assert viewer.stalls[0].text == "Connection refused"


async def test_one_that_accepts_and_says_nothing_is_given_up_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:  # the kernel accepts for it
        mute = RtspCamera(url=f"rtsp://127.0.0.1:{server.getsockname()[1]}/x", open_s=0.5, silent_s=0.5)
        with pytest.raises(CameraError, match="answer within") as refused:
            await asyncio.to_thread(mute.open)
        assert refused.value.reason is Reason.UNREACHABLE
        async with viewing(mute) as viewer:
            await viewer.until(lambda: viewer.stalls)


async def test_closing_does_not_wait_for_a_read(camera: Camera) -> None:
    async with viewing(of(camera, silent_s=30.0), silent_s=30.0) as viewer:
        await viewer.sees()
        camera.mode = "silent"
        await asyncio.sleep(0.2)
        began = time.monotonic()
    assert time.monotonic() - began < 20


async def test_a_device_that_does_not_keep_up_decodes_key_frames_only(camera: Camera) -> None:
    async with viewing(of(camera), queue=1) as viewer:
        await viewer.sees()
        viewer.slow_s = 0.4
        await viewer.until(lambda: viewer.source.dropped.get("skipped", 0) >= 20)
        assert viewer.source.dropped["late"] >= 5
        viewer.slow_s = 0.0
        await viewer.sees(60)


async def test_fewer_frames_a_second_drop_the_surplus(camera: Camera) -> None:
    async with viewing(of(camera), fps=5.0) as viewer:
        await viewer.sees(10)
    assert viewer.source.dropped["surplus"] >= 3 * 9


def test_credentials_are_one_line_that_only_their_owner_reads(tmp_path: Path) -> None:
    path = tmp_path / "cam"
    path.write_text("owner:pa:ss word\n")
    path.chmod(0o640)
    with pytest.raises(RefusedError, match="others may read") as refused:
        Credentials.read(path)
    assert "chmod 600" in refused.value.hint
    path.chmod(0o600)
    assert Credentials.read(path) == Credentials(user="owner", password="pa:ss word")
    for text in ("", "owner", ":x", "a:b\nc:d", "a:b\x00"):
        path.write_text(text)
        with pytest.raises(RefusedError, match="no credentials") as refused:
            Credentials.read(path)
    path.write_bytes(b"\xff:\xff")
    with pytest.raises(RefusedError, match="no text"):
        Credentials.read(path)
    with pytest.raises(RefusedError, match="No such file"):
        Credentials.read(tmp_path / "none")
