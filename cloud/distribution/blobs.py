"""The port to content-addressed bytes, and its in-memory twin."""

from __future__ import annotations

from typing import Protocol

from shared.errors import FaultError
from shared.ids import Digest, sha256


class BlobStore(Protocol):
    """Immutable bytes by their SHA-256; called in worker threads."""

    def has(self, digest: Digest) -> bool:
        """Whether the whole blob is there."""
        ...

    def size(self, digest: Digest) -> int:
        """Length in bytes.

        Raises:
            FaultError: the blob is missing.
        """
        ...

    def read(self, digest: Digest, offset: int, size: int) -> bytes:
        """Up to `size` bytes from `offset`; fewer at the end, none past it.

        Raises:
            FaultError: the blob is missing or cannot be read.
        """
        ...


class MemoryBlobs:
    """The twin."""

    def __init__(self) -> None:
        self._blobs: dict[Digest, bytes] = {}

    def put(self, data: bytes) -> Digest:
        """Keep `data`; return its name."""
        digest = sha256(data)
        self._blobs[digest] = data
        return digest

    def has(self, digest: Digest) -> bool:
        return digest in self._blobs

    def size(self, digest: Digest) -> int:
        return len(self.read(digest, 0, -1))

    def read(self, digest: Digest, offset: int, size: int) -> bytes:
        if digest not in self._blobs:
            raise FaultError(f"no blob {digest}")
        return self._blobs[digest][offset : offset + size if size >= 0 else None]
