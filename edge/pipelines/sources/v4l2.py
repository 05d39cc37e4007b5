"""Cameras at this machine: Video4Linux devices, read by FFmpeg."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.pipelines.sources.live import CameraError
from edge.pipelines.sources.stalls import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class V4l2Camera:
    """One device and what is asked of it."""

    device: Path
    pixels: str = ""
    """Format as FFmpeg calls it (`mjpeg`, `yuyv422`, `h264`); empty for the device's own choice."""

    size: tuple[int, int] | None = None
    """Width and height; None for the device's own choice."""

    fps: float | None = None
    """Frames a second that the device is asked for."""

    others: Callable[[], list[Path]] = lambda: sorted(Path("/dev").glob("video*"))
    """Devices that there are, for the error of one that is not."""

    @property
    def name(self) -> str:
        return str(self.device)

    def options(self) -> dict[str, str]:
        """FFmpeg's."""
        asked = {
            "input_format": self.pixels,
            "video_size": "{}x{}".format(*self.size) if self.size else "",
            "framerate": f"{self.fps:g}" if self.fps else "",
        }
        return {name: value for name, value in asked.items() if value}

    def open(self) -> Any:
        import av  # as in `film.Scaler`

        try:
            return av.open(str(self.device), format="video4linux2", options=self.options())
        except av.FFmpegError as error:
            raise CameraError(Reason.UNREACHABLE, self._said(error)) from None

    def _said(self, error: Any) -> str:
        device = self.device
        if error.errno in {errno.ENOENT, errno.ENODEV, errno.ENXIO}:
            found = ", ".join(map(str, self.others())) or "no camera at all"
            return f"there is no {device}; there is {found}. Plug it in, or name another one as source.device"
        if error.errno in {errno.EACCES, errno.EPERM}:
            return f"no right to open {device}. Add the agent's user to the group `video`"
        if error.errno == errno.EBUSY:
            return f"{device} is in use by another program. End that one"
        if error.errno == errno.ENOTTY:
            return f"{device} is no camera"
        if error.errno == errno.EINVAL:
            return (
                f"{device} gives no pictures of this format, size and rate. `v4l2-ctl --list-formats-ext` shows which"
            )
        return str(error.strerror)
