"""What the trust client adds to an agent's start: importing it, against the two libraries that it stands on."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

from tests.benchmarks.figure import Figure, compare

OURS = "shared.trust"
PEER = "tuf.ngclient, cryptography.hazmat.primitives.asymmetric.ed25519, msgspec"
TIMED = "import time; started = time.perf_counter(); import {}; print(time.perf_counter() - started)"


def measure(*, turns: int = 9) -> Iterator[Figure]:
    """Seconds, each in a fresh process, the least of several: whatever else the machine does only adds to it."""
    seconds: dict[str, list[float]] = {OURS: [], PEER: []}
    for _ in range(turns + 1):
        for modules, kept in seconds.items():
            kept.append(_seconds(modules))
    yield compare(
        name="trust.import", ours=min(seconds[OURS][1:]), peer=min(seconds[PEER][1:]), unit="s", better="lower",
        what_ours=f"import {OURS}", what_peer=f"import {PEER}",
    )  # fmt: skip


def _seconds(modules: str) -> float:
    command = [sys.executable, "-c", TIMED.format(modules)]
    return float(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
