"""The repository's files on disk; `timestamp.json` is written last and decides which of them count.

    metadata/timestamp.json            the commit point
    metadata/<version>.<role>.json     immutable once a timestamp leads to them
    targets/<path>/<digest>.<name>     manifests and desired states

A crash in mid-publication leaves files that no timestamp leads to; the next publication overwrites them. What must
change together with the root goes through a journal instead (`cloud.release.draft`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from shared.durable import read_if_present, sync_directory, write_atomic
from shared.errors import FaultError

TIMESTAMP_FILE = "metadata/timestamp.json"


Check = Callable[[], None]


def metadata_name(role: str, version: int) -> str:
    """Name of one version of a role's metadata."""
    return f"metadata/{version}.{role}.json"


class RepositoryFiles:
    """Reads, writes and prunes by names as a `MetadataSource` has them; it is one."""

    def __init__(self, directory: Path, *, check: Check = lambda: None) -> None:
        """`check` is asked right before each change, and raises where the writer must not be one any more."""
        self._directory = directory
        self._check = check

    def read(self, name: str) -> bytes | None:
        return read_if_present(self._directory / name)

    def need(self, name: str) -> bytes:
        """A file that must be there.

        Raises:
            FaultError: it is not: the repository is damaged.
        """
        data = self.read(name)
        if data is None:
            raise FaultError(f"the release repository lacks {name}", hint="Restore its directory from a backup.")
        return data

    def write(self, name: str, data: bytes) -> None:
        """Durably; see `shared.durable.write_atomic`."""
        self._check()
        write_atomic(self._directory / name, data)

    def remove(self, name: str) -> None:
        """Durably, if it is there."""
        self._check()
        path = self._directory / name
        path.unlink(missing_ok=True)
        sync_directory(path.parent)

    def names(self) -> list[str]:
        """Every file, sorted."""
        found = (path for path in self._directory.rglob("*") if path.is_file() and not path.name.startswith("."))
        return sorted(str(path.relative_to(self._directory)) for path in found)

    def prune(self, keep: set[str]) -> None:
        """Remove every file but `keep`; what a crash spares, the next call removes."""
        for name in self.names():
            if name not in keep:
                self.remove(name)
