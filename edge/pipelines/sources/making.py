"""From a pipeline's settings to its source."""

from __future__ import annotations

from pathlib import Path

from edge import settings as conf
from edge.pipelines.sources.chain import Chain, Mask
from edge.pipelines.sources.port import Source
from edge.pipelines.sources.replay import Recording, ReplaySource
from edge.pipelines.sources.video import VideoSettings, video_source
from shared.clock import Clock


def make_source(wanted: conf.Pipeline, clock: Clock, *, mask: Mask | None = None) -> Source:
    """The source that `wanted` names; it opens with the first `take`. `mask` goes over each frame first of all.

    Raises:
        FaultError: a recording cannot be read.
    """
    source = wanted.source
    chain = Chain(mask=mask)
    if isinstance(source, conf.VideoSource):
        video = VideoSettings(path=Path(source.path), fps=source.fps, loop=source.loop)
        return video_source(video, stream=wanted.name, clock=clock, chain=chain)
    recording = Recording.from_npz(Path(source.path))
    return ReplaySource(recording, stream=wanted.name, rate=source.rate, loop=source.loop, clock=clock)
