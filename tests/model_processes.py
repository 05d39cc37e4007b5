"""The processes of models that this one started and that still are."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

GONE_S = 10.0
"""How long those that were told to end may take: a machine under load reaps late."""


def model_processes() -> list[int]:
    """Ids of this process's own children that were started as `edge.inference.process` starts one."""
    return [child for child in children() if _is_model(child)]


def end_all() -> list[int]:
    """Wait for those that are ending; kill and return those that stay."""
    deadline = time.monotonic() + GONE_S
    while (left := model_processes()) and time.monotonic() < deadline:
        time.sleep(0.01)
    for process in left:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    return left


def children() -> set[int]:
    """Ids of all processes that any thread of this one started, also those that ended and were not waited for."""
    found: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        with suppress(OSError):  # a thread that ends meanwhile has no children
            found.update(map(int, (task / "children").read_text().split()))
    return found


def _is_model(process: int) -> bool:
    try:
        command = Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return command[1:3] == [b"-I", b"-S"]
