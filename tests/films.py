"""Small films made on the spot."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np


def make_film(path: Path, *, frames: int = 20, rate: int = 10, size: tuple[int, int] = (64, 48)) -> Path:
    """An MPEG-4 film whose frame i is grey of brightness 10·i, width × height as in `size`."""
    width, height = size
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for index in range(frames):
            image = np.full((height, width, 3), min(250, 10 * index), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    return path
