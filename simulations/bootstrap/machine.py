"""Whether this machine can hold a checkout's environment."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from shared.errors import FaultError, RefusedError

NEEDED_GIB = 4.0
"""The environment takes 1.8 GiB; pip unpacks beside it, and the data packages and a running world follow."""

GIB = 1 << 30


def require_disk(root: Path, *, free_gib: float | None = None) -> None:
    """Check that `root` has room; `free_gib` replaces the look at the file system.

    Raises:
        RefusedError: it has not.
    """
    free = shutil.disk_usage(root).free / GIB if free_gib is None else free_gib
    if free < NEEDED_GIB:
        raise RefusedError(
            f"{free:.1f} GiB are free on the disk of {root}, and setting up takes {NEEDED_GIB:.0f}",
            hint="Free some space, or clone onto a larger disk.",
        )


def is_root() -> bool:
    """Whether system packages can be installed without asking."""
    return os.geteuid() == 0


def run(argv: Sequence[str], *, failure: str, hint: str, cwd: Path | None = None) -> None:
    """Run a command whose output the person sees.

    Raises:
        FaultError: it is missing or did not succeed.
    """
    try:
        code = subprocess.run(argv, cwd=cwd, check=False).returncode  # noqa: S603 - our own commands, no shell
    except OSError as error:
        raise FaultError(f"{failure}: {error}", hint=hint) from error
    if code:
        raise FaultError(f"{failure} (`{' '.join(argv[:4])} …` ended with status {code})", hint=hint)
