"""A video file as a camera, at the film's pace."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edge.pipelines.sources.chain import Chain
from edge.pipelines.sources.film import play
from edge.pipelines.sources.frames import FrameSource, Intake
from edge.pipelines.sources.pace import Pace
from edge.pipelines.sources.port import Drop
from shared.clock import Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoSettings:
    """How a file is played."""

    path: Path
    fps: float | None = None
    """Frames a second handed on while the film runs at its own pace; frames nobody takes in time are dropped,
    as a camera does. None: every frame, as fast as they are taken."""

    loop: bool = False
    queue: int = 4
    """Frames decoded ahead."""


class FilmPlayer:
    """Plays one file."""

    def __init__(self, settings: VideoSettings, *, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock

    def play(self, intake: Intake) -> None:
        settings, began, pace = self._settings, self._clock.monotonic(), Pace(self._settings.fps)
        for at, frame in play(settings.path, fps=None, loop=settings.loop):
            if not pace.wants(at):
                more = intake.lose(Drop.SURPLUS)
            elif settings.fps is None or intake.wait(began + at - self._clock.monotonic()):
                more = intake.offer(frame, at=at)
            else:
                return
            if not more:
                return


def video_source(settings: VideoSettings, *, stream: str, clock: Clock, chain: Chain | None = None) -> FrameSource:
    """Frames of one file."""
    player = FilmPlayer(settings, clock=clock)
    waits = settings.fps is None
    return FrameSource(player, stream=stream, clock=clock, chain=chain, queue=settings.queue, waits=waits)
