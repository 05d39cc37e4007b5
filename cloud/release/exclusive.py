"""One change of a repository at a time, whichever thread or process makes it.

The coordinator signs while an operator's ceremony may be under way in another process; each holds this lock for one
reading and writing of the repository, and not for longer.
"""

from __future__ import annotations

import fcntl
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import IO

from shared.durable import make_directory
from shared.errors import FaultError, RefusedError

PATIENCE_S = 20.0
"""A ceremony with keys on a token takes seconds; the coordinator's loop takes its turn again later."""

_LOOK_S = 0.02


class Exclusive:
    """Held with `with`; the thread that has it may take it again."""

    def __init__(self, directory: Path, *, patience_s: float = PATIENCE_S) -> None:
        self._path = directory / ".lock"
        self._patience_s = patience_s
        self._threads = threading.RLock()
        self._depth = 0
        self._file: IO[bytes] | None = None

    def __enter__(self) -> None:
        """Wait for it.

        Raises:
            RefusedError: another process has it for too long.
            FaultError: the disk failed.
        """
        self._threads.acquire()
        try:
            if self._depth == 0:
                self._file = self._locked()
        except BaseException:
            self._threads.release()
            raise
        self._depth += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give it back; a process that dies gives it back too."""
        self._depth -= 1
        if self._depth == 0 and self._file is not None:
            self._file.close()
        self._threads.release()

    def _locked(self) -> IO[bytes]:
        file, until = self._open(), time.monotonic() + self._patience_s
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() < until:
                    time.sleep(_LOOK_S)
                    continue
                file.close()
                raise RefusedError(
                    f"another process changes {self._path.parent}", hint="Wait until it is done, then try again."
                ) from None
            return file

    def _open(self) -> IO[bytes]:
        try:
            make_directory(self._path.parent)
            return self._path.open("ab")
        except OSError as error:
            raise FaultError(f"{self._path} cannot be opened: {error.strerror}", hint="Check the disk.") from error
