"""What a simulation that was killed left running, and the lock that keeps two from sharing one directory."""

from __future__ import annotations

import contextlib
import fcntl
import json
from collections.abc import Iterator
from pathlib import Path

import psutil

from shared.errors import RefusedError

PID_FILE = "processes.json"


@contextlib.contextmanager
def sole_use(state: Path) -> Iterator[None]:
    """Hold `state` for this process.

    Raises:
        RefusedError: another simulation runs there.
    """
    state.mkdir(parents=True, exist_ok=True)
    with (state / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise RefusedError(
                f"another simulation is running in {state}",
                hint="Wait for it, stop it with Ctrl-C, or give this one its own --state directory.",
            ) from error
        yield


def record(state: Path, pids: list[int]) -> None:
    """Write down the children, with their start times, since the system reuses process ids."""
    rows = []
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            rows.append({"pid": pid, "started": psutil.Process(pid).create_time()})
    (state / PID_FILE).write_text(json.dumps(rows))


def clean(state: Path) -> int:
    """Kill recorded children that still run; return how many there were."""
    path = state / PID_FILE
    if not path.exists():
        return 0
    killed = 0
    try:
        rows = json.loads(path.read_text())
    except ValueError:
        rows = []
    for row in rows:
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(row["pid"])
            if process.create_time() == row["started"]:
                for child in [*process.children(recursive=True), process]:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        child.kill()
                killed += 1
    path.unlink()
    return killed
