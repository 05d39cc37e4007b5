"""System packages on Debian and Ubuntu: installed as root, unpacked into the virtual environment otherwise."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from shared.errors import FaultError, RefusedError
from simulations.bootstrap.machine import is_root, run

HINT = "Check the network, then run it again; or install it by hand."
QUIET = ["-qq", "-o", "Dpkg::Use-Pty=0"]
LIBRARIES = ("usr/lib", "lib")


def provide(packages: Sequence[str], *, commands: Sequence[str], home: Path) -> bool:
    """Have `commands` on this machine; return False when they were there already.

    As root the packages are installed. Otherwise they, and the libraries that are missing here, are unpacked
    under `home/unpacked`, and `home/bin` gets a script for each command; `home` is a virtual environment.

    Raises:
        RefusedError: this is no Debian or Ubuntu.
        FaultError: the packages could not be fetched.
    """
    return _provide(packages, commands=commands, home=home, whole_machine=is_root())


def keep(packages: Sequence[str], *, commands: Sequence[str], home: Path) -> bool:
    """Have `commands` under `home` only, as `provide` does without root: installing a server would start it.

    Raises:
        RefusedError, FaultError: as `provide`.
    """
    return _provide(packages, commands=commands, home=home, whole_machine=False)


def _provide(packages: Sequence[str], *, commands: Sequence[str], home: Path, whole_machine: bool) -> bool:
    if all(find(command, home=home) for command in commands):
        return False
    if shutil.which("apt-get") is None:
        raise RefusedError(
            f"{' and '.join(commands)} must be installed, and there is no apt-get here",
            hint=f"Install {' and '.join(packages)} with this system's package manager.",
        )
    if whole_machine:
        install(packages)
    else:
        unpack(packages, commands=commands, home=home)
    return True


def find(command: str, *, home: Path) -> Path | None:
    """A command of the system, or one that `unpack` left under `home`; daemons live outside a user's PATH."""
    for directory in (None, "/usr/sbin", str(home / "bin")):
        found = shutil.which(command, path=directory)
        if found:
            return Path(found)
    return None


def install(packages: Sequence[str]) -> None:
    """Install `packages` for the whole machine; needs root.

    Raises:
        FaultError: apt-get failed.
    """
    apt = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", *QUIET]
    wanted = ["install", "-y", "--no-install-recommends", *packages]
    first = subprocess.run([*apt, *wanted], check=False, capture_output=True)  # noqa: S603 - our own command
    if first.returncode == 0:
        return
    what = f"apt-get could not install {', '.join(packages)}"
    run([*apt, "update"], failure=what, hint=HINT)  # a fresh container has no package lists
    run([*apt, *wanted], failure=what, hint=HINT)


def unpack(packages: Sequence[str], *, commands: Sequence[str], home: Path) -> None:
    """Fetch `packages` and what they need, unpack them without root, and write a script for each command.

    Raises:
        FaultError: a package could not be fetched, or does not hold its command.
    """
    tree, fetched = home / "unpacked", home / "unpacked" / "deb"
    fetched.mkdir(parents=True, exist_ok=True)
    names = missing(_plan(packages))
    run(["apt-get", *QUIET, "download", *names], failure="packages could not be fetched", hint=HINT, cwd=fetched)
    for archive in sorted(fetched.glob("*.deb")):
        run(["dpkg", "-x", str(archive), str(tree)], failure=f"{archive.name} is damaged", hint=HINT)
        archive.unlink()
    for command in commands:
        write_script(command, tree=tree, into=home / "bin")


def missing(plan: str) -> list[str]:
    """Packages that `apt-get --simulate install` would install, e.g. from `Inst mosquitto (2.0.11 …)`."""
    return re.findall(r"^Inst (\S+)", plan, flags=re.MULTILINE)


def _plan(packages: Sequence[str]) -> str:
    argv = ["apt-get", "--simulate", "--no-install-recommends", "install", *packages]
    answer = subprocess.run(argv, check=False, capture_output=True, text=True)  # noqa: S603 - our own command
    if answer.returncode:
        raise FaultError(
            f"apt-get knows no {', '.join(packages)}: {answer.stderr.strip()[:200]}",
            hint="Run `sudo apt-get update`, then try again.",
        )
    return answer.stdout


def write_script(command: str, *, tree: Path, into: Path) -> None:
    """Make `into/command` run the program of that name under `tree`.

    Raises:
        FaultError: there is none.
    """
    programs = [path for path in tree.glob(f"usr/*bin/{command}") if path.is_file()]
    if not programs:
        raise FaultError(f"no {command} in what was unpacked under {tree}", hint="Install it by hand.")
    libraries = {path.parent for part in LIBRARIES for path in (tree / part).rglob("*.so*")}
    into.mkdir(parents=True, exist_ok=True)
    script = into / command
    script.write_text(
        f'#!/bin/sh\nexport LD_LIBRARY_PATH="{":".join(sorted(map(str, libraries)))}"\nexec "{programs[0]}" "$@"\n'
    )
    script.chmod(0o755)
