"""Where a pipeline's inputs come from: one structure for each kind of source, told apart by `kind`."""

from __future__ import annotations

from typing import Literal

import msgspec

from edge.settings.kinds import Address, Amount, Rate, Size
from edge.settings.sensors import Sensor


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


class RtspSource(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="rtsp", forbid_unknown_fields=True):
    """A network camera."""

    url: Address
    """`rtsp://host:554/path`, without user and password."""

    transport: Literal["tcp", "udp"] = "tcp"
    credentials_file: str = ""
    """File of one line, `user:password`, readable by the agent only; empty for none."""

    credentials_env: str = ""
    """Or the environment variable that holds the same."""

    fps: Rate = 5.0
    """Frames per second handed to the model; the camera's others are dropped as `surplus`."""

    open_s: Rate = 10.0
    """Seconds that connecting may take, and again finding out what the stream is."""

    silent_s: Rate = 10.0
    """Seconds without a frame after which the camera counts as stalled; also the longest read."""

    frozen_s: Amount = 30.0
    """Seconds of exactly the same picture after which it counts as frozen; 0 for never."""

    retry_s: Rate = 30.0
    """Most seconds between two tries to connect."""

    keyframes_when_late: bool = True
    """Decode key frames only while the device does not keep up; the others are dropped as `skipped`."""


class V4l2Source(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="v4l2", forbid_unknown_fields=True):
    """A camera at this machine (Video4Linux)."""

    device: str = "/dev/video0"
    pixels: Literal["", "mjpeg", "yuyv422", "h264", "nv12", "gray"] = ""
    """Format that the device is asked for; empty for its own choice."""

    size: Size = ""
    """`640x480`; empty for the device's own choice."""

    device_fps: float = 0.0
    """Frames per second that the device is asked for; 0 for its own choice."""

    fps: Rate = 5.0
    """Frames per second handed to the model; the device's others are dropped as `surplus`."""

    silent_s: Rate = 10.0
    """Seconds without a frame after which the camera counts as stalled."""

    frozen_s: Amount = 30.0
    """Seconds of exactly the same picture after which it counts as frozen; 0 for never."""

    retry_s: Rate = 30.0
    """Most seconds between two tries to open the device."""


Camera = RtspSource | V4l2Source
Source = ReplaySource | VideoSource | RtspSource | V4l2Source | Sensor
"""Every kind of source."""
