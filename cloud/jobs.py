"""Processes that carry out federated runs: the port, and children on this machine.

A job is named by its run's directory and holds a lock there for as long as it lives, so that no run is ever carried
out twice at once, whoever started the job and whether its parent still lives.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Protocol

from shared.errors import FaultError, RefusedError

LOCK = "process.lock"
"""Beside the ledger's own lock: this one says that the process lives, before it has imported anything heavy."""

LOG = "job.log"

PROBES = 20
"""Tries to get the lock, 0.05 s apart: somebody who only asks holds it for a moment too."""

GRACE_S = 1.5
"""How long a job may take to end after SIGTERM; its ledger is durable at any moment, so killing it costs one round."""


class Jobs(Protocol):
    """Where jobs run."""

    def start(self, directory: Path) -> None:
        """Start a job for the run in `directory`; nothing happens when one is there.

        Raises:
            FaultError: no process could be started.
        """
        ...

    def running(self, directory: Path) -> bool:
        """Whether a job for that run lives, started by us or by a predecessor."""
        ...

    def stop(self, directory: Path) -> None:
        """End the job, if there is one; its run can be taken up again."""
        ...

    def close(self) -> None:
        """End every job that was started here."""
        ...


class LocalJobs:
    """Children of this process, each with its log in the run's directory; safe to call from several threads."""

    def __init__(self, argv: list[str], *, env: Mapping[str, str]) -> None:
        """Start `argv` plus the run's directory."""
        self._argv = argv
        self._env = dict(env)
        self._children: dict[Path, subprocess.Popen[bytes]] = {}
        self._lock = threading.Lock()

    def start(self, directory: Path) -> None:
        with self._lock:
            if self.running(directory):
                return
            try:
                with (directory / LOG).open("ab") as log:
                    self._children[directory] = subprocess.Popen(  # noqa: S603  our own command, no shell
                        [*self._argv, str(directory)],
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        env=self._env,
                        start_new_session=True,  # Ctrl-C reaches it through us, in order
                    )
            except OSError as error:
                raise FaultError(f"the job for {directory.name} did not start: {error}") from error

    def running(self, directory: Path) -> bool:
        child = self._children.get(directory)
        return (child is not None and child.poll() is None) or locked(directory)

    def stop(self, directory: Path) -> None:
        child = self._children.pop(directory, None)
        if child is not None:
            _end(child)
        elif (owner := _owner(directory)) is not None:
            os.kill(owner, signal.SIGTERM)

    def close(self) -> None:
        children, self._children = list(self._children.values()), {}
        for child in children:
            _signal(child, signal.SIGTERM)
        for child in children:
            _end(child)


def job_argv() -> list[str]:
    """The command that carries out one run, with this interpreter."""
    return [sys.executable, "-m", "cloud.main", "job"]


@contextmanager
def hold(directory: Path) -> Iterator[None]:
    """Be the one job of the run in `directory`.

    Raises:
        RefusedError: another process is.
        FaultError: there is no such directory.
    """
    try:
        file = (directory / LOCK).open("a+")
    except OSError as error:
        raise FaultError(f"{directory} holds no run: {error.strerror}") from error
    with file:
        if not any(_try_lock(file) for _ in range(PROBES)):
            raise RefusedError(f"another job works on {directory.name}", hint="Wait for it to end.")
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def locked(directory: Path) -> bool:
    """Whether a job holds the run in `directory`; the kernel lets go of the lock of a process that died."""
    try:
        with (directory / LOCK).open("r") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _try_lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        time.sleep(0.05)
        return False
    return True


def _owner(directory: Path) -> int | None:
    if not locked(directory):
        return None
    text = (directory / LOCK).read_text().strip()
    return int(text) if text.isdigit() else None


def _signal(child: subprocess.Popen[bytes], number: signal.Signals) -> None:
    if child.poll() is None:
        child.send_signal(number)


def _end(child: subprocess.Popen[bytes]) -> None:
    _signal(child, signal.SIGTERM)
    try:
        child.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
