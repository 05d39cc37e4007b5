"""Jobs as children of this process, each with its log in its directory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from cloud.jobs.hold import forget_end, locked, owner, read_end
from cloud.jobs.port import LOG, MOST_SAID, Job, Kind, Phase, State
from shared.errors import FaultError

GRACE_S = 1.5
"""How long a job may take to end after SIGTERM; its state is durable at any moment, so killing it costs little."""


class LocalJobs:
    """Children of this process; one that a predecessor of ours started is seen by its lock, and left to its work."""

    def __init__(self, commands: Mapping[Kind, Sequence[str]], *, env: Mapping[str, str]) -> None:
        """Start a kind's command with the job's directory behind it."""
        self._commands = {kind: tuple(argv) for kind, argv in commands.items()}
        self._env = dict(env)
        self._children: dict[Path, subprocess.Popen[bytes]] = {}
        self._lock = threading.Lock()

    def submit(self, job: Job) -> None:
        with self._lock:
            if self._runs(job):
                return
            try:
                forget_end(job.directory)
                with (job.directory / LOG).open("ab") as log:
                    self._children[job.directory] = subprocess.Popen(  # noqa: S603  our own command, no shell
                        [*self._commands[job.kind], str(job.directory)],
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        env=self._env,
                        start_new_session=True,  # Ctrl-C reaches it through us, in order
                    )
            except OSError as error:
                raise FaultError(f"the job {job.name} did not start: {error}") from error

    def state(self, job: Job) -> State:
        if self._runs(job):
            return State(Phase.RUNNING)
        end = read_end(job.directory)
        if end is not None:
            return State(Phase.FAILED if end.reason else Phase.SUCCEEDED, end.reason, final=end.final)
        if not (job.directory / LOG).exists():
            return State(Phase.ABSENT)
        child = self._children.get(job.directory)
        return State(Phase.FAILED, f"ended without a word{_status(child)}; see {job.directory / LOG}")

    def log(self, job: Job, *, since: int = 0) -> tuple[bytes, int]:
        try:
            with (job.directory / LOG).open("rb") as file:
                file.seek(since)
                said = file.read(MOST_SAID)
        except FileNotFoundError:
            return b"", since
        return said, since + len(said)

    def cancel(self, job: Job) -> None:
        child = self._children.pop(job.directory, None)
        if child is not None:
            _end(child)
        elif (there := owner(job.directory)) is not None:
            os.kill(there, signal.SIGTERM)

    def close(self) -> None:
        children, self._children = list(self._children.values()), {}
        for child in children:
            _signal(child, signal.SIGTERM)
        for child in children:
            _end(child)

    def _runs(self, job: Job) -> bool:
        child = self._children.get(job.directory)
        return (child is not None and child.poll() is None) or locked(job.directory)


def coordinator_jobs(directory: Path) -> LocalJobs:
    """Jobs of the coordinator in `directory`, with this interpreter."""
    command = (sys.executable, "-m", "cloud.main", "job", "--kind")
    commands = {kind: (*command, kind) for kind in (Kind.RUN, Kind.WARM_START, Kind.EVALUATION)}
    return LocalJobs(commands, env={**os.environ, "HINTERLAND_DIR": str(directory)})


def _status(child: subprocess.Popen[bytes] | None) -> str:
    return "" if child is None or child.returncode is None else f" (status {child.returncode})"


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
