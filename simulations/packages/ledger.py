"""What has been proven already, so that a second set-up only looks at sizes and dates."""

from __future__ import annotations

from pathlib import Path

import msgspec

from shared.durable import write_atomic
from shared.errors import FaultError
from shared.ids import sha256

NAME = "proven.json"


class Entry(msgspec.Struct, frozen=True):
    """A file as it was when its digest was computed."""

    digest: str
    size: int
    modified_ns: int


class Ledger:
    """Digests of files below a directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._entries = _load(directory / NAME)

    def holds(self, path: str, digest: str) -> bool:
        """Whether the file is there with that content; one that was touched since is hashed again."""
        found = self._stat(path)
        if found is None:
            return False
        entry = self._entries.get(path)
        if entry is None or (entry.size, entry.modified_ns) != found:
            entry = self._note(path)
        return entry.digest == digest

    def put(self, path: str, data: bytes) -> None:
        """Write a file and note it.

        Raises:
            FaultError: the disk is full or refuses.
        """
        write_atomic(self._directory / path, data)
        self._note(path)

    def _note(self, path: str) -> Entry:
        try:
            digest = sha256((self._directory / path).read_bytes())
        except OSError as error:
            raise FaultError(f"{path} could not be read: {error.strerror}", hint="Check the disk.") from error
        size, modified = self._stat(path) or (0, 0)
        entry = self._entries[path] = Entry(digest, size, modified)
        write_atomic(self._directory / NAME, msgspec.json.encode(self._entries, order="sorted"))
        return entry

    def _stat(self, path: str) -> tuple[int, int] | None:
        try:
            status = (self._directory / path).stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return status.st_size, status.st_mtime_ns


def _load(path: Path) -> dict[str, Entry]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Entry])
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return {}  # nothing proven: every file is hashed again
