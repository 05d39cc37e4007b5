"""Whether a loaded model still is fit to run."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from edge.inference.isolated import ALARM
from edge.inference.runtime import Mortal, Session


def failing(session: Session) -> str:
    """Why a session should be given up; empty while it is well, and for one that lives in the agent's own process."""
    if isinstance(session, Mortal) and session.ends >= ALARM:
        return f"its process ended {session.ends} times in a row: {session.last_end}"
    return ""


def peak_mib(session: Session) -> float | None:
    """Most resident memory that the session's process has had; None where it has none of its own, or none now."""
    if not isinstance(session, Mortal):
        return None
    with suppress(OSError, ValueError, IndexError):
        lines = Path(f"/proc/{session.pid}/status").read_text().splitlines()
        return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:")), None)
    return None
