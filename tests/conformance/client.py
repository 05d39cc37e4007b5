"""The agent's trust code behind the command line that the public TUF conformance suite drives (its CLIENT-CLI.md).

What is tested is what a device runs: `shared.trust.custody.Custody` with its session, marks and translation of errors.
Above it, and not here, stands `TrustClient` with what Hinterland asks of its own repositories: a signed issue time, a
targets role that names no file, paths that belong to a role. Only this file knows HTTP; a device's source is MQTT.
"""

from __future__ import annotations

import argparse
import os
import sys
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import quote

from tuf.api.exceptions import LengthOrHashMismatchError
from tuf.ngclient import UpdaterConfig

from shared.clock import SystemClock
from shared.errors import HinterlandError, TransportError, TrustError
from shared.trust.custody import Custody

MOST = UpdaterConfig().targets_max_length
"""Bytes read of any file: an endless one must reach the check that refuses it, and no further."""

STATE = ".hinterland"
"""Beneath the suite's metadata directory: the first root, the marks, and a link back to that directory as cache."""


class HttpSource:
    """Files from two base URLs."""

    def __init__(self, metadata: str, targets: str) -> None:
        self._bases = {"metadata": metadata.rstrip("/"), "targets": targets.rstrip("/")}

    def read(self, name: str) -> bytes | None:
        kind, _, path = name.partition("/")
        try:
            with urllib.request.urlopen(f"{self._bases[kind]}/{path}", timeout=10) as answer:
                return bytes(answer.read(MOST + 1))
        except urllib.error.HTTPError as error:
            if error.code in (403, 404):
                return None
            raise TransportError(f"{name}: {error}") from error
        except OSError as error:
            raise TransportError(f"{name}: {error}") from error


def initialise(directory: Path, trusted: Path) -> None:
    """Keep the root that all trust starts from."""
    state = directory / STATE
    state.mkdir()
    (state / "metadata").symlink_to(os.path.pardir)
    (state / "root").write_bytes(trusted.read_bytes())
    (directory / "root.json").write_bytes(trusted.read_bytes())


def refreshed(directory: Path, source: HttpSource) -> Custody:
    """Verified top-level metadata."""
    state = directory / STATE
    custody = Custody(state, root=(state / "root").read_bytes(), source=source, clock=SystemClock())
    custody.refresh()
    return custody


def download(custody: Custody, name: str, directory: Path) -> None:
    """Fetch a target, unless it lies there already."""
    target = custody.find(name)
    if target is None:
        raise TrustError(f"nothing is signed under {name}")
    place = directory / quote(name, safe="")
    try:
        target.verify_length_and_hashes(place.read_bytes())
    except (OSError, LengthOrHashMismatchError):
        place.write_bytes(custody.fetch(target, most=MOST))


def main() -> int:
    """Carry one command out; 0 when all of it succeeded, else 1."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--metadata-dir", type=Path, required=True)
    parser.add_argument("--metadata-url", default="")
    parser.add_argument("--target-name", action="append", default=[])
    parser.add_argument("--target-dir", type=Path)
    parser.add_argument("--target-base-url", default="")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("init").add_argument("trusted", type=Path)
    for command in ("refresh", "download"):
        commands.add_parser(command)
    told = parser.parse_args()
    try:
        if told.command == "init":
            initialise(told.metadata_dir, told.trusted)
            return 0
        custody = refreshed(told.metadata_dir, HttpSource(told.metadata_url, told.target_base_url))
        for name in told.target_name if told.command == "download" else ():
            download(custody, name, told.target_dir)
    except HinterlandError as error:
        print(f"{error.code}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
