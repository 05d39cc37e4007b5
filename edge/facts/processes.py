"""What one process takes, from /proc."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple


class Taken(NamedTuple):
    """Of one process."""

    cpu_s: float
    """Processor time of all its threads since it began, in user and system mode."""

    rss_mib: float
    """Resident memory, with what it shares with others (`VmRSS`)."""


def taken(pid: int, *, proc: Path = Path("/proc")) -> Taken | None:
    """What process `pid` takes now; None where it is gone or cannot be looked at."""
    try:
        stat = (proc / str(pid) / "stat").read_text()
        status = (proc / str(pid) / "status").read_text()
        fields = stat.rpartition(")")[2].split()  # its name may hold anything
        ticks = int(fields[11]) + int(fields[12])
        rss = next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:")), 0)
    except (OSError, ValueError, IndexError):
        return None
    return Taken(cpu_s=ticks / os.sysconf("SC_CLK_TCK"), rss_mib=rss / 1024)
