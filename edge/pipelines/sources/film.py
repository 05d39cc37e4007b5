"""Frames of a video file, as many a second as wanted, and scaled to a model's input."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.pipelines.sources.pace import Pace
from shared.errors import FaultError

Frame = Any
"""`av.VideoFrame`; the library is imported only once a video is opened."""


class Scaler:
    """Frames to model inputs: RGB·2/255 − 1, channels first. May be called from any thread.

    One reformatter for all frames, and one thread in it: PyAV otherwise sets swscale up anew for each frame.
    """

    def __init__(self) -> None:
        from av.video.reformatter import VideoReformatter  # with its codecs 100 MB that only cameras need

        self._reformatter = VideoReformatter()
        self._lock = threading.Lock()  # swscale's context takes one frame at a time

    def scale(self, frame: Frame, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """An input of `shape` [3, height, width]."""
        _, height, width = shape
        with self._lock:
            image = self._reformatter.reformat(frame, width=width, height=height, format="rgb24", threads=1)
        x = np.ascontiguousarray(image.to_ndarray().transpose(2, 0, 1), dtype=np.float32)
        x *= np.float32(2 / 255)
        x -= np.float32(1)
        return x


def play(path: Path, *, fps: float | None, loop: bool) -> Iterator[tuple[float, Frame]]:
    """(seconds since the film began, frame), at most `fps` of them a second of film; all of them with None.

    A film that loops goes on counting seconds.

    Raises:
        FaultError: the file is missing, no video, or broken.
    """
    began, pace = 0.0, Pace(fps)
    while True:
        end = 0.0
        for at, frame, step in _decode(path):
            end = at + step
            if pace.wants(began + at):
                yield began + at, frame
        if not loop:
            return
        if not end:
            raise FaultError(f"{path} has no frames")
        began += end


def picture(frame: Frame) -> NDArray[np.uint8]:
    """The whole frame, RGB [height, width, 3]."""
    image: NDArray[np.uint8] = frame.to_ndarray(format="rgb24")
    return image


def luma(frame: Frame) -> NDArray[np.uint8]:
    """The frame's brightness [height, width]; a view, where its format keeps brightness apart."""
    form = frame.format
    if form.is_rgb or not form.is_planar or form.components[0].bits != 8:
        frame = frame.reformat(format="gray8")
    plane = frame.planes[0]
    rows = np.frombuffer(plane, np.uint8)[: plane.line_size * frame.height].reshape(frame.height, plane.line_size)
    return rows[:, : frame.width]


def _decode(path: Path) -> Iterator[tuple[float, Frame, float]]:
    """(seconds, frame, seconds to the next one) once through the file."""
    import av  # as in Scaler

    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.thread_type, stream.thread_count = "NONE", 1  # the other core belongs to the model
            step = 1 / float(stream.average_rate or 25)
            for index, frame in enumerate(container.decode(stream)):
                yield frame.time if frame.time is not None else index * step, frame, step
    except (av.FFmpegError, OSError, IndexError) as error:
        raise FaultError(f"cannot play {path}: {error}", hint="Check that the file is there and a video.") from error
