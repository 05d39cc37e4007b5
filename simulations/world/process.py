"""One child process: started apart from the terminal's signals, logged to a file, stopped in good order."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from shared.errors import FaultError
from simulations.interruption import heed

STOP_GRACE_S = 20.0


class Process:
    """A named child whose output goes to `<logs>/<name>.log`."""

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        *,
        logs: Path,
        env: Mapping[str, str] | None = None,
        grace_s: float = STOP_GRACE_S,
    ) -> None:
        self.name = name
        self._grace_s = grace_s
        self._argv = list(argv)
        self._log = logs / f"{name}.log"
        self._env = {**os.environ, **(env or {})}
        self._env.pop("PYTHONDONTWRITEBYTECODE", None)  # a dozen processes that each compile everything take minutes
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return self._child.pid if self._child and self._child.poll() is None else None

    @property
    def exit_code(self) -> int | None:
        """None while it runs or before it was started."""
        return self._child.poll() if self._child else None

    def start(self) -> None:
        """Start the child in a session of its own, so that Ctrl-C reaches it only through `stop`."""
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as log:
            self._child = subprocess.Popen(  # noqa: S603 - our own commands, no shell
                self._argv,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=self._env,
                start_new_session=True,
            )

    def wait_until(self, ready: Callable[[], bool], *, within_s: float) -> None:
        """Wait for `ready()`.

        Raises:
            FaultError: the child ended or the time is up; the message carries the end of its log.
        """
        deadline = time.monotonic() + within_s
        while not ready():
            heed()
            if self.exit_code is not None:
                raise FaultError(f"{self.name} ended with status {self.exit_code}:\n{self.tail()}", hint=self._hint())
            if time.monotonic() > deadline:
                raise FaultError(
                    f"{self.name} was not ready within {within_s:.0f} s:\n{self.tail()}", hint=self._hint()
                )
            time.sleep(0.05)

    def ask_to_stop(self) -> None:
        """Send SIGTERM to the child's session."""
        self._signal(signal.SIGTERM)

    def stop(self) -> None:
        """Ask, wait, and kill what does not listen."""
        if self._child is None:
            return
        self.ask_to_stop()
        try:
            self._child.wait(self._grace_s)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """`kill -9`, its own children included."""
        self._signal(signal.SIGKILL)
        if self._child is not None:
            self._child.wait()

    def tail(self, lines: int = 12) -> str:
        """The end of the log, for error messages."""
        if not self._log.exists():
            return "(no output)"
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-lines:]) or "(no output)"

    def _signal(self, number: signal.Signals) -> None:
        if self._child is None or self._child.poll() is not None:
            return
        if number is signal.SIGKILL:
            os.killpg(self._child.pid, number)
        else:
            self._child.send_signal(number)

    def _hint(self) -> str:
        return f"The whole log is {self._log}."


def console_script(name: str) -> list[str]:
    """Command line of one of our console scripts, of the same installation as this process.

    Raises:
        FaultError: the script is not installed beside this interpreter.
    """
    script = Path(sys.executable).with_name(name)
    if not script.exists():
        raise FaultError(f"{name} is not installed in {script.parent}", hint="Run `make setup`, or `pip install -e .`.")
    return [str(script)]
