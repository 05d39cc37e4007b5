"""Files: whose they are, who may read them, and whether there is room."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from edge.operate.doctor.finding import Finding, fail, ok, warn
from edge.operate.doctor.patient import Patient

LEAST_MIB, FEW_MIB = 64, 512
"""Free space below which nothing can be kept, and below which a model may not fit twice."""

FEW_INODES = 1000


def check_rights(patient: Patient) -> Iterator[Finding]:
    """Secrets are the agent's alone, and its state can be written by it."""
    state = patient.state
    if not state.exists():
        yield warn("rights", f"{state} is not there yet", "`hinterland-agent run` makes it.")
        return
    wrong = list(_open(patient))
    yield from wrong
    if not os.access(state, os.W_OK | os.X_OK):
        yield fail(
            "rights", f"{state} cannot be written by uid {os.geteuid()}", "Run the doctor as the user of the agent."
        )
    elif not wrong:
        yield ok("rights", f"{state} is the agent's alone")


def _open(patient: Patient) -> Iterator[Finding]:
    """What others may read or write."""
    secrets = [patient.state, patient.state / "identity" / "device.key", patient.state / "serving" / "tokens.json"]
    if patient.settings.agent.token_file:
        secrets.append(Path(patient.settings.agent.token_file))
    if patient.settings.serving.key:
        secrets.append(Path(patient.settings.serving.key))
    for path in secrets:
        mode = _mode(path)
        if mode & 0o077:
            wanted = "700" if path.is_dir() else "600"
            yield fail("rights", f"{path} is open to others ({mode:03o})", f"chmod {wanted} {path}")
    if _mode(patient.config) & 0o022:
        yield fail(
            "rights",
            f"{patient.config} can be written by others, who could have the agent do anything",
            f"chmod go-w {patient.config}",
        )


def _mode(path: Path) -> int:
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return 0


def check_disk(patient: Patient) -> Iterator[Finding]:
    """Room for the outbox, and for the next model beside the one that serves."""
    free = patient.facts.disk_bytes(patient.state)
    if free is None:
        yield warn("disk", f"the disk of {patient.state} does not say what is free", "Look at it with `df`.")
        return
    mib, needed = free >> 20, _needed_mib(patient.state / "models")
    if mib < LEAST_MIB:
        yield fail("disk", f"{mib} MiB are free", "Make room: records and models cannot be kept.")
    elif mib < max(FEW_MIB, needed):
        yield warn(
            "disk", f"{mib} MiB are free", f"Have {max(FEW_MIB, needed)} MiB: updates want twice a model's size."
        )
    else:
        yield ok("disk", f"{mib} MiB are free")
    try:
        found = os.statvfs(patient.state if patient.state.exists() else "/")
    except OSError:
        return
    if found.f_files and found.f_favail < FEW_INODES:
        yield warn("disk", f"only {found.f_favail} files more fit onto the disk", "Remove small files, or format anew.")


def _needed_mib(models: Path) -> int:
    sizes = [path.stat().st_size for path in models.glob("*/[AB]/*") if path.is_file()] if models.is_dir() else []
    return 2 * max(sizes, default=0) >> 20
