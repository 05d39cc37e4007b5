"""Where a pipeline's inputs come from: one structure for each kind of source, told apart by `kind`."""

from __future__ import annotations

import msgspec

from edge.settings.kinds import Rate


class ReplaySource(
    msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="replay", forbid_unknown_fields=True
):
    """Recorded sensor windows or images, replayed as if they were live."""

    path: str
    """NPZ with `x` [n, ...] and, optionally, `phase` [n] naming the recording each window is from."""

    rate: Rate = 10.0
    """Inputs per second."""

    loop: bool = False


class VideoSource(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="video", forbid_unknown_fields=True):
    """A video file read frame by frame."""

    path: str
    fps: Rate = 5.0
    """Frames per second handed to the model; the rest of the file's frames are decoded and left out."""

    loop: bool = True


Source = ReplaySource | VideoSource
"""Every kind of source."""
