"""The virtual environment of a checkout, installed again only when what it depends on has changed."""

from __future__ import annotations

import hashlib
import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

from shared.errors import RefusedError
from simulations.bootstrap.debian import install as install_system_packages
from simulations.bootstrap.machine import is_root, require_disk, run

ENGINES = "requirements.engines"
"""Exact versions of what comes under NVIDIA's licence."""

STAMP = "hinterland.installed"
"""File in the environment that names what was installed there."""

TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
"""The registry's own Linux wheel of torch brings several GB of CUDA along; this index has the same version without."""

PEERS = ("ray==2.55.1",)
"""What benchmarks compare with, as flwr[simulation] pins it. In no lock file, as nothing of ours needs it."""

NETWORK_HINT = "Check the network and the disk, then run `make setup` again; what is installed stays."


def fingerprint(*, lock: bytes, project: bytes, python: str, root: Path) -> str:
    """Name of an installation; the path is part of it, since an environment cannot be moved."""
    digest = hashlib.sha256()
    for part in (lock, project, python.encode(), str(root).encode()):
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()


def torch_pin(lock: str) -> str:
    """The requirement on torch in a lock file, e.g. `torch==2.13.0`, or an empty string."""
    found = re.search(r"^torch==[0-9.]+", lock, flags=re.MULTILINE)
    return found.group() if found else ""


def ensure(root: Path) -> bool:
    """Install the lock file and this checkout into `root/.venv`; return False when all was there already.

    Raises:
        RefusedError: this Python cannot make environments, or the disk is too small.
        FaultError: pip failed.
    """
    home = root / ".venv"
    wanted = _wanted(root)
    if _installed(home) == wanted:
        return False
    require_disk(root)
    if not (home / "bin" / "python").exists() or not _works(home):
        _create(home)
    _install(home, root)
    (home / STAMP).write_text(wanted)
    return True


def add_engines(root: Path) -> None:
    """Install the builder of engines for NVIDIA GPUs, which the lock file leaves out; nothing when it is there.

    Raises:
        FaultError: pip failed.
    """
    pip = [str(root / ".venv" / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]
    wanted = ["install", "--no-deps", "--quiet", "-r", str(root / ENGINES)]
    run([*pip, *wanted], failure="the builder of engines is missing", hint=NETWORK_HINT)


def ensure_peers(root: Path) -> bool:
    """Install the peers of the benchmarks beside what the lock file pins; return False when all were there already.

    Raises:
        FaultError: pip failed.
    """
    python = str(root / ".venv" / "bin" / "python")
    missing = [peer for peer in PEERS if not _has(python, *peer.split("=="))]
    if not missing:
        return False
    within = ["--constraint", str(root / "requirements.lock")]
    install = [python, "-m", "pip", "--disable-pip-version-check", "install", *missing, *within]
    run(install, failure="the peers of the benchmarks are missing", hint=NETWORK_HINT)
    return True


def _has(python: str, package: str, version: str) -> bool:
    probe = [python, "-c", f"import importlib.metadata as m; print(m.version({package!r}))"]
    answer = subprocess.run(probe, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
    return answer.stdout.strip() == version


def _wanted(root: Path) -> str:
    lock, project = (root / "requirements.lock").read_bytes(), (root / "pyproject.toml").read_bytes()
    return fingerprint(lock=lock, project=project, python=sys.version, root=root)


def _installed(home: Path) -> str:
    stamp = home / STAMP
    return stamp.read_text() if stamp.exists() and (home / "bin" / "python").exists() else ""


def _works(home: Path) -> bool:
    """Whether the environment's Python is the one that runs now, and has pip: a half-made one does not."""
    probe = [str(home / "bin" / "python"), "-c", "import pip, sys; print(sys.version)"]
    answer = subprocess.run(probe, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
    return answer.returncode == 0 and answer.stdout.strip() == sys.version.strip()


def _create(home: Path) -> None:
    if importlib.util.find_spec("ensurepip") is None:
        _install_venv()
    shutil.rmtree(home, ignore_errors=True)
    run([sys.executable, "-m", "venv", str(home)], failure="no virtual environment", hint=NETWORK_HINT)


def _install_venv() -> None:
    """Debian and Ubuntu ship Python without the module that puts pip into an environment."""
    package = f"python3.{sys.version_info.minor}-venv"
    if not is_root():
        raise RefusedError(
            f"{sys.executable} cannot make virtual environments", hint=f"Run `sudo apt-get install {package}`."
        )
    install_system_packages([package])


def _install(home: Path, root: Path) -> None:
    pip = [str(home / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]
    install = [*pip, "install", "--progress-bar", "on"]
    _install_torch(install, pin=torch_pin((root / "requirements.lock").read_text()))
    run([*install, "-r", str(root / "requirements.lock")], failure="packages are missing", hint=NETWORK_HINT)
    editable = [*install, "--no-deps", "--no-build-isolation", "-e", str(root)]
    run(editable, failure="Hinterland itself could not be installed", hint=NETWORK_HINT)


def _install_torch(install: list[str], *, pin: str) -> None:
    """Try the small wheel; where that index is out of reach, the lock file's turn comes with the ordinary registry."""
    if not pin or sys.platform != "linux":
        return
    once = ["--no-deps", "--retries", "0", "--timeout", "20", "--index-url", TORCH_CPU_INDEX]
    subprocess.run([*install, *once, pin], check=False)  # noqa: S603 - our own command
