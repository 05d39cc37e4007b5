"""From a pipeline's settings to its source."""

from __future__ import annotations

from pathlib import Path

from edge import settings as conf
from edge.pipelines.sources.port import Source
from edge.pipelines.sources.replay import Recording, ReplaySource
from edge.pipelines.sources.video import VideoSettings, VideoSource
from shared.clock import Clock


def make_source(wanted: conf.Pipeline, clock: Clock) -> Source:
    """The source that `wanted` names; it opens with the first `take`.

    Raises:
        FaultError: a recording cannot be read.
    """
    source = wanted.source
    if isinstance(source, conf.VideoSource):
        video = VideoSettings(path=Path(source.path), fps=source.fps, loop=source.loop)
        return VideoSource(video, stream=wanted.name, clock=clock)
    recording = Recording.from_npz(Path(source.path))
    return ReplaySource(recording, stream=wanted.name, rate=source.rate, loop=source.loop, clock=clock)
