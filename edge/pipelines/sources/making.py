"""From a pipeline's settings to its source."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random

import msgspec

from edge import settings as conf
from edge.pipelines.sources.chain import Chain, Gate, Mask
from edge.pipelines.sources.live import LiveSettings, live_source
from edge.pipelines.sources.motion import MotionGate, MotionSettings
from edge.pipelines.sources.port import Source
from edge.pipelines.sources.replay import Recording, ReplaySource
from edge.pipelines.sources.rtsp import Credentials, RtspCamera
from edge.pipelines.sources.sensors.making import make_sensor
from edge.pipelines.sources.v4l2 import V4l2Camera
from edge.pipelines.sources.video import VideoSettings, video_source
from shared.clock import Clock
from shared.errors import RefusedError


def make_source(
    wanted: conf.Pipeline,
    clock: Clock,
    *,
    random: Random,
    mask: Mask | None = None,
    last: Gate | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Source:
    """The source that `wanted` names; it opens with the first `take`. `mask` goes over each frame first of all, and
    `last` judges it after all other gates.

    Raises:
        FaultError: a recording cannot be read.
        RefusedError: settings do not fit together, or name credentials that cannot be used.
    """
    source = wanted.source
    if isinstance(source, conf.ReplaySource | conf.Sensor) and wanted.motion is not None:
        raise RefusedError(f"{wanted.name} has no pictures in which motion could be found", hint="Leave it out.")
    if isinstance(source, conf.ReplaySource | conf.Sensor) and wanted.masks:
        raise RefusedError(f"{wanted.name} has no pictures that could be masked", hint="Leave them out.")
    if isinstance(source, conf.ReplaySource):
        recording = Recording.from_npz(Path(source.path))
        return ReplaySource(recording, stream=wanted.name, rate=source.rate, loop=source.loop, clock=clock)
    if isinstance(source, conf.Sensor):
        return make_sensor(source, stream=wanted.name, clock=clock, random=random)
    gates = [*_gates(wanted), *([last] if last else [])]
    if isinstance(source, conf.VideoSource):
        video = VideoSettings(path=Path(source.path), fps=source.fps, loop=source.loop)
        return video_source(video, stream=wanted.name, clock=clock, chain=Chain(mask=mask, gates=gates))
    if isinstance(source, conf.RtspSource):
        camera: RtspCamera | V4l2Camera = _rtsp(source, environment)
    else:
        camera = _v4l2(source)
    settings = LiveSettings(
        fps=source.fps,
        silent_s=source.silent_s,
        frozen_s=source.frozen_s,
        retry_s=source.retry_s,
        keyframes_when_late=isinstance(source, conf.RtspSource) and source.keyframes_when_late,
    )
    return live_source(camera, settings, stream=wanted.name, clock=clock, random=random, mask=mask, gates=gates)


def _gates(wanted: conf.Pipeline) -> Sequence[Gate]:
    if wanted.motion is None:
        return ()
    return [MotionGate(MotionSettings(**msgspec.structs.asdict(wanted.motion)))]


def _rtsp(source: conf.RtspSource, environment: Mapping[str, str]) -> RtspCamera:
    return RtspCamera(
        url=source.url,
        transport=source.transport,
        credentials=credentials_of(source, environment),
        open_s=source.open_s,
        silent_s=source.silent_s,
    )


def credentials_of(source: conf.RtspSource, environment: Mapping[str, str]) -> Credentials | None:
    """What a camera asks for, from where its settings say.

    Raises:
        RefusedError: they say two places, or none of use.
    """
    if source.credentials_file and source.credentials_env:
        raise RefusedError("a camera has two places for its credentials", hint="Name a file or a variable, not both.")
    if source.credentials_env:
        if source.credentials_env not in environment:
            raise RefusedError(f"the environment has no {source.credentials_env}", hint="Set it for the service.")
        return Credentials.parse(environment[source.credentials_env], origin=f"${source.credentials_env}")
    return Credentials.read(Path(source.credentials_file)) if source.credentials_file else None


def _v4l2(source: conf.V4l2Source) -> V4l2Camera:
    width, _, height = source.size.partition("x")
    size = (int(width), int(height)) if source.size else None
    return V4l2Camera(device=Path(source.device), pixels=source.pixels, size=size, fps=source.device_fps or None)
