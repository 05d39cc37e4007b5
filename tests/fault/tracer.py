"""An agent in a fresh interpreter under strace, which ends it, or has the kernel fail it, at a system call."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.fault.agent import Place
from tests.fault.ground import Ground

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 600.0

RENAMES = "rename,renameat,renameat2"


@dataclass(frozen=True)
class Trace:
    """What happens when a thread makes one of `calls` for the `when`-th time."""

    calls: str
    when: int
    what: str = "signal=KILL"

    @property
    def expression(self) -> str:
        return f"inject={self.calls}:{self.what}:when={self.when}"


def trace_agent(trace: Trace, ground: Ground, place: Place, *, state: str) -> int:
    """Exit status of the agent; negative for the signal that ended it."""
    agent = [sys.executable, "-m", "tests.fault.agent", *map(str, (ground.directory, place.device, place.log)), state]
    strace = ["strace", "-f", "-qqq", "-o", "/dev/null", "-e", f"trace={trace.calls}"]
    # not `--seccomp-bpf`, which is faster: strace 6.1 then injects the first time and never again
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}  # what an import writes is no step of an update
    done = subprocess.run(
        [*strace, "-e", trace.expression, *agent],
        cwd=ROOT, env=environment, capture_output=True, timeout=LIMIT_S, check=False,
    )  # fmt: skip
    return done.returncode
