"""A variant that lies whole on this device: what others have in common with it need not be sent."""

from __future__ import annotations

import os
from pathlib import Path

from shared.bundle import Variant


class Held:
    """A sealed file as the base of differences. Its bytes are not proven again: what comes out of them is."""

    def __init__(self, path: Path, variant: Variant) -> None:
        self.digest = variant.digest
        self._path = path
        self._size = variant.size

    def read(self, offset: int, length: int) -> bytes:
        """Bytes of the file; none where it has no such place or the disk fails."""
        if not 0 <= offset <= offset + length <= self._size:
            return b""
        try:
            file = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW)
        except OSError:
            return b""
        try:
            return os.pread(file, length, offset)
        except OSError:
            return b""
        finally:
            os.close(file)
