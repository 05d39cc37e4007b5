"""Fetch the public TUF conformance suite at a pinned commit and run it against our client: `make conformance`.

Its code is not ours and is not kept here. `TUF_CONFORMANCE` names a copy of it, a checkout or a bare repository, where
github.com cannot be reached. Every case must pass: there is no list of expected failures.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from io import BytesIO
from pathlib import Path

URL = "https://github.com/theupdateframework/tuf-conformance"
COMMIT = "eec841c186f81f2d9d8d30460c7e7deefa615f9e"
PLACE = Path(".hinterland") / f"tuf-conformance-{COMMIT[:12]}"
CLIENT = Path(__file__).with_name("client.py")
TESTS = "tuf_conformance"


class UnavailableError(Exception):
    """The suite, or something it needs, is not there; the message says what to do."""


def main(arguments: list[str]) -> int:
    """Run the suite; `arguments` go to pytest."""
    try:
        suite = _suite(os.environ.get("TUF_CONFORMANCE", ""))
    except UnavailableError as error:
        print(f"make conformance: {error}", file=sys.stderr)
        return 1
    # our own settings of pytest are not the suite's
    bare = ["-c", os.devnull, "--rootdir", ".", "-p", "no:cacheprovider", "-p", "no:asyncio"]
    command = [sys.executable, "-m", "pytest", "-q", *bare, TESTS]
    return subprocess.run(
        [*command, "--entrypoint", f"{sys.executable} {CLIENT.absolute()}", *arguments], cwd=suite, check=False
    ).returncode


def _suite(copy: str) -> Path:
    if shutil.which("faketime") is None:
        raise UnavailableError("the program faketime is missing. Remedy: sudo apt-get install faketime")
    if copy and (Path(copy) / TESTS).is_dir():
        return Path(copy)
    if not (PLACE / TESTS).is_dir():
        _unpack(Path(copy) if copy else _fetched())
    return PLACE


def _fetched() -> Path:
    repository = PLACE.with_suffix(".git")
    repository.mkdir(parents=True, exist_ok=True)
    _git(repository, "init", "--quiet", "--bare")
    _git(repository, "fetch", "--quiet", "--depth", "1", URL, COMMIT)
    return repository


def _unpack(repository: Path) -> None:
    half = PLACE.with_suffix(".part")
    shutil.rmtree(half, ignore_errors=True)
    with tarfile.open(fileobj=BytesIO(_git(repository, "archive", COMMIT))) as archive:
        archive.extractall(half, filter="data")
    half.rename(PLACE)


def _git(repository: Path, *arguments: str) -> bytes:
    try:
        done = subprocess.run(["git", "-C", str(repository), *arguments], capture_output=True, check=False, timeout=120)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnavailableError(f"git: {error}") from error
    if done.returncode:
        said = (done.stderr.decode(errors="replace").strip().splitlines() or ["failed"])[-1]
        raise UnavailableError(
            f"the suite cannot be fetched: {said}. Remedy: name a copy of {URL} at {COMMIT[:12]}: TUF_CONFORMANCE=/path"
        )
    return done.stdout


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
