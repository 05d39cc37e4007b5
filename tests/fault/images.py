"""File systems in files: what lies in the file is on the disk; what only the page cache has is gone at a power cut.

A copy of the file while it is mounted is therefore a disk whose power was cut: it holds what the kernel has written,
and mounting it does what a machine does when it starts, a replay of the journal (ext4) or the log (XFS).
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Kind:
    """How a file system is made and mounted so that the kernel writes nothing unless it is asked to."""

    size_mib: int
    make: tuple[str, ...]
    options: str


KINDS = {
    # without `auto_da_alloc`, which mends a missing fsync before a rename; a journal that is not committed by time
    "ext4": Kind(32, ("mkfs.ext4", "-q", "-b", "1024", "-O", "^resize_inode"), "loop,commit=300,noauto_da_alloc"),
    "xfs": Kind(64, ("mkfs.xfs", "--unsupported", "-q"), "loop,nouuid"),  # smaller than what is supported: for tests
}


@dataclass(frozen=True)
class Image:
    """One disk."""

    path: Path
    kind: Kind

    @classmethod
    def make(cls, path: Path, kind: Kind, *more: str) -> Image:
        """An empty file system."""
        with path.open("wb") as file:
            file.truncate(kind.size_mib << 20)
        run(*kind.make, *more, str(path))
        return cls(path, kind)

    def copy(self, path: Path) -> Image:
        """The disk as it would be found if the power went now."""
        run("cp", "--sparse=always", str(self.path), str(path))
        return Image(path, self.kind)

    @contextmanager
    def mounted(self, at: Path) -> Iterator[Path]:
        """The file system under `at`."""
        at.mkdir(exist_ok=True)
        run("mount", "-o", self.kind.options, str(self.path), str(at))
        try:
            yield at
        finally:
            run("umount", str(at))


@contextmanager
def small_memory_disk(at: Path, *, mib: int) -> Iterator[Path]:
    """A tmpfs of so many MiB."""
    at.mkdir()
    run("mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", str(at))
    try:
        yield at
    finally:
        run("umount", str(at))


def run(*command: str) -> None:
    """Run a command of the system; its words are in the error."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
