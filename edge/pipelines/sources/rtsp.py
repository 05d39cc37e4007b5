"""Network cameras over RTSP (RFC 7826's older sister, RFC 2326), read by FFmpeg."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, urlsplit, urlunsplit

from edge.pipelines.sources.live import CameraError
from edge.pipelines.sources.stalls import Reason
from shared.errors import RefusedError


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Who asks a camera for pictures; never shown."""

    user: str
    password: str = field(repr=False)

    @classmethod
    def parse(cls, text: str, *, origin: str) -> Credentials:
        """From `user:password`; `origin` says in errors where it was read.

        Raises:
            RefusedError: it is none.
        """
        user, colon, password = text.strip().partition(":")
        if not colon or not user or any(ord(letter) < 32 for letter in text.strip()):
            raise RefusedError(f"{origin} holds no credentials", hint="It must be one line, user:password.")
        return cls(user=user, password=password)

    @classmethod
    def read(cls, path: Path) -> Credentials:
        """From a file that only its owner may read.

        Raises:
            RefusedError: it is missing, open to others, or holds none.
        """
        try:
            with path.open() as file:
                if os.fstat(file.fileno()).st_mode & 0o077:
                    raise RefusedError(f"others may read {path}", hint=f"chmod 600 {path}")
                return cls.parse(file.read(4096), origin=str(path))
        except (OSError, UnicodeDecodeError) as error:
            said = error.strerror if isinstance(error, OSError) else "no text"
            raise RefusedError(f"credentials cannot be read from {path}: {said}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class RtspCamera:
    """One camera's address."""

    url: str = field(repr=False)
    """Without credentials; what follows `?` may hold some all the same, so it is not shown."""

    transport: Literal["tcp", "udp"] = "tcp"
    credentials: Credentials | None = None
    open_s: float = 10.0
    """Seconds that connecting, and finding out what the stream is, may take each."""

    silent_s: float = 10.0
    """Seconds a read may take."""

    @property
    def name(self) -> str:
        parts = urlsplit(self.url)
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))

    def open(self) -> Any:
        import av  # as in `film.Scaler`

        try:
            return av.open(
                self._address(), format="rtsp", timeout=(self.open_s, self.silent_s), options=self._options()
            )
        except av.FFmpegError as error:
            raise CameraError(Reason.UNREACHABLE, self._said(error)) from None  # its own text has the whole address

    def _address(self) -> str:
        if self.credentials is None:
            return self.url
        parts = urlsplit(self.url)
        who = f"{quote(self.credentials.user, safe='')}:{quote(self.credentials.password, safe='')}"
        return urlunsplit(parts._replace(netloc=f"{who}@{parts.netloc}"))

    def _options(self) -> dict[str, str]:
        return {
            "rtsp_transport": self.transport,
            "allowed_media_types": "video",  # a camera's microphone is none of our business
            "protocol_whitelist": "rtp,udp,tcp",  # whatever the camera's answer asks for
            "fflags": "nobuffer",
            "flags": "low_delay",
            "analyzeduration": "1000000",  # microseconds
            "fpsprobesize": "0",  # or it gathers a second of frames to guess a rate that nobody asks for
            "max_delay": "300000",  # microseconds to wait for a late UDP packet
        }

    def _said(self, error: Any) -> str:
        import av  # as in `film.Scaler`

        if isinstance(error, av.ExitError | av.InvalidDataError):  # the latter for a head that was cut off
            return f"no camera's answer within {self.open_s:g} s"
        if isinstance(error, av.HTTPUnauthorizedError):
            return "the camera refuses the credentials" if self.credentials else "the camera asks for credentials"
        return str(error.strerror)
