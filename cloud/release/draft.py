"""Changes that become true together: read through to the repository, written in one step.

The order of single writes is enough where the old keys go on to be valid: the timestamp's rename decides. Where a
new root takes a key away, the files that the old key signed must change with it. So a draft is first written as one
journal, whose rename is the commit, and then into its places; whoever opens the repository after a crash between the
two finishes that.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from shared.errors import TrustError

JOURNAL = ".journal"
"""Beside `metadata` and `targets`; the dot hides it from pruning and publishing."""


class Files(Protocol):
    """What is read and written by name; `RepositoryFiles` is one."""

    def read(self, name: str) -> bytes | None:
        """The file, or None."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """Durably."""
        ...

    def remove(self, name: str) -> None:
        """Durably, if it is there."""
        ...


class Draft:
    """Keeps what is written in memory until it is committed."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._written: dict[str, bytes] = {}

    def read(self, name: str) -> bytes | None:
        return self._written.get(name) or self._files.read(name)

    def write(self, name: str, data: bytes) -> None:
        self._written[name] = data

    def commit(self) -> None:
        """Make all of it true.

        Raises:
            FaultError: the disk failed; before the journal was written nothing has changed, and after it everything
                will have, as soon as somebody opens the repository again.
        """
        if self._written:
            self._files.write(JOURNAL, msgspec.json.encode(self._written))
            finish(self._files)


def finish(files: Files) -> bool:
    """Carry a journal out that a crash left behind; whether there was one.

    Raises:
        TrustError: the journal is damaged, which no crash does to it.
        FaultError: the disk failed.
    """
    data = files.read(JOURNAL)
    if data is None:
        return False
    try:
        written = msgspec.json.decode(data, type=dict[str, bytes])
    except msgspec.MsgspecError as error:
        raise TrustError(
            f"the repository's journal is damaged: {error}", hint="Restore its directory from a backup."
        ) from error
    for name, content in written.items():
        files.write(name, content)
    files.remove(JOURNAL)
    return True
