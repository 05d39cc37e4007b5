"""Where signed files come from; nothing that a source says is believed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from shared.durable import read_if_present


class MetadataSource(Protocol):
    """Untrusted files by name: a cache of retained messages, a directory, a web server."""

    def read(self, name: str) -> bytes | None:
        """The file `metadata/<file>` or `targets/<hash-prefixed path>`, or None when the source lacks it.

        Raises:
            TransportError: the source cannot be asked now.
        """
        ...


class Noting:
    """Another source, and the name of the file that was read last: the one at fault when a proof fails."""

    def __init__(self, source: MetadataSource) -> None:
        self._source = source
        self.last = ""

    def read(self, name: str) -> bytes | None:
        self.last = name
        return self._source.read(name)


class MemorySource:
    """Files in a mapping, read as it is at each call."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = files

    def read(self, name: str) -> bytes | None:
        return self._files.get(name)


class DirectorySource:
    """Files under a directory laid out like the repository: for auditors and tools."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory.resolve()

    def read(self, name: str) -> bytes | None:
        path = self._directory / name
        if ".." in path.parts or not path.resolve().is_relative_to(self._directory):
            return None
        return read_if_present(path)
