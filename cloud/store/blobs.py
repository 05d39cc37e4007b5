"""Files named by the SHA-256 of their content: model variants, and whatever else is large and never changes."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

from shared.durable import make_directory, sync_directory
from shared.errors import ContractError, FaultError
from shared.ids import Digest, check_digest


class FileBlobs:
    """A directory of immutable files, two levels deep.

    A blob is there completely or not at all, also after a power cut: written aside, fsynced, renamed, and the
    directory fsynced.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def put(self, data: bytes) -> Digest:
        """Keep `data` and return its name.

        Raises:
            FaultError: the disk did not take it.
        """
        return self.put_stream([data])

    def put_stream(self, pieces: Iterable[bytes], *, expected: Digest | None = None) -> Digest:
        """Keep the concatenation of `pieces` without holding it in memory.

        Raises:
            ContractError: its digest is not `expected`; nothing is kept.
            FaultError: the disk did not take it.
        """
        aside = self._directory / f".{secrets.token_hex(8)}.part"
        try:
            make_directory(self._directory)
            digest = _write(aside, pieces)
            if expected is not None and digest != expected:
                raise ContractError(f"the bytes have digest {digest}, not {expected}", hint="Send the file again.")
            self._keep(aside, digest)
        except OSError as error:
            raise FaultError(f"the blob was not stored: {error}", hint="Check space and rights of the disk.") from error
        finally:
            aside.unlink(missing_ok=True)
        return digest

    def read(self, digest: Digest, offset: int = 0, size: int = -1) -> bytes:
        """`size` bytes from `offset`; to the end for a negative `size`.

        Raises:
            FaultError: no such blob, or the disk failed.
        """
        try:
            with self.path(digest).open("rb") as file:
                file.seek(offset)
                return file.read(size)
        except OSError as error:
            raise FaultError(f"blob {digest} cannot be read: {error}") from error

    def has(self, digest: Digest) -> bool:
        """Whether the blob is here."""
        return self.path(digest).is_file()

    def size(self, digest: Digest) -> int:
        """Length in bytes.

        Raises:
            FaultError: no such blob.
        """
        try:
            return self.path(digest).stat().st_size
        except OSError as error:
            raise FaultError(f"blob {digest} is not here: {error}") from error

    def path(self, digest: Digest) -> Path:
        """Where the blob lies, for processes of ours that read files; nobody may write there."""
        check_digest(digest)  # a digest comes from messages, and a path must not
        return self._directory / digest[:2] / digest

    def _keep(self, aside: Path, digest: Digest) -> None:
        path = self.path(digest)
        if path.is_file():
            return
        make_directory(path.parent)
        aside.rename(path)
        sync_directory(path.parent)


def _write(path: Path, pieces: Iterable[bytes]) -> Digest:
    hasher = hashlib.sha256()
    with path.open("xb") as file:
        for piece in pieces:
            hasher.update(piece)
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
    return Digest(hasher.hexdigest())
