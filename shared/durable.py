"""Writes that a power cut cannot undo or tear.

Order of steps: write a temporary file beside the target, fsync it, rename it over the target, fsync the
directory. Without the first fsync a power cut leaves an empty file under the final name (seen on XFS, and on
ext4 without `auto_da_alloc`); without the second the rename itself may be lost.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from shared.errors import FaultError


def write_atomic(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Replace `path` by `data`: after return the new bytes survive a power cut, before it the old ones do.

    Parents are made when missing.

    Raises:
        FaultError: the disk is full, read-only or failing; `path` still holds what it held, or, where only the last
            step failed, the new bytes, which a power cut may undo.
    """
    replace_atomic(path, lambda file: file.write(data), mode=mode)


def replace_atomic(path: Path, write: Callable[[BinaryIO], object], *, mode: int = 0o644) -> None:
    """As `write_atomic`, for what is too large to be in memory at once: `write` puts it into the file it is given.

    Raises:
        FaultError: as `write_atomic`.
    """
    try:
        make_directory(path.parent)
        _replace(path, write, mode)
    except OSError as error:
        raise FaultError(f"{path} could not be written: {error.strerror}", hint="Check the disk.") from error


def make_directory(path: Path, *, mode: int = 0o755) -> None:
    """Make `path` and its parents, each entry durable in its parent.

    Raises:
        OSError: it cannot be made.
    """
    if path.is_dir():
        return
    make_directory(path.parent)
    path.mkdir(mode=mode, exist_ok=True)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make renames, creations and removals in `path` durable.

    Raises:
        OSError: the disk refuses.
    """
    _sync(path, os.O_RDONLY | os.O_DIRECTORY)


def sync_file(path: Path) -> None:
    """Make the bytes of a file written by someone else durable.

    Raises:
        OSError: the disk refuses; what was written may be gone and must be written again, not synced again.
    """
    _sync(path, os.O_RDONLY)


def read_if_present(path: Path) -> bytes | None:
    """The bytes of a regular file, or None when there is none; a link is not followed.

    Raises:
        FaultError: the file is there but cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise FaultError(f"{path} is no regular file")
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                return file.read()
        finally:
            os.close(descriptor)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise FaultError(f"{path} could not be read: {error.strerror}") from error


def _replace(path: Path, write: Callable[[BinaryIO], object], mode: int) -> None:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            write(file)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
