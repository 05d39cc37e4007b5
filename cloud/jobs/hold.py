"""What a job's process does in its directory: it is the only one there, and says how it ended.

The lock is the kernel's, so that it is let go of however the process dies; a file beside it says how an end that was
not a death came about.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import msgspec

from shared.durable import read_if_present, write_atomic
from shared.errors import FaultError, HinterlandError, RefusedError, TransportError

LOCK = "process.lock"
"""Beside the ledger's own lock: this one says that the process lives, before it has imported anything heavy."""

ENDED = "ended.json"

PROBES = 20
"""Tries to get the lock, 0.05 s apart: somebody who only asks holds it for a moment too."""


class Ended(msgspec.Struct, kw_only=True):
    """How a job's process ended by itself."""

    reason: str = ""
    """Why it did not do its work; empty if it did."""

    final: bool = False
    """Another try would end the same."""


@contextmanager
def hold(directory: Path) -> Iterator[Ended]:
    """Be the one job in `directory`, and leave behind how it ended; who sets a `reason` has failed.

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
        forget_end(directory)
        end = Ended()
        try:
            yield end
        except BaseException as error:
            end = _of(error)
            raise
        finally:
            write_atomic(directory / ENDED, msgspec.json.encode(end))


def forget_end(directory: Path) -> None:
    """A new attempt begins: how the last one ended counts no more."""
    (directory / ENDED).unlink(missing_ok=True)


def read_end(directory: Path) -> Ended | None:
    """How the last process ended by itself; None if none did."""
    data = read_if_present(directory / ENDED)
    try:
        return None if data is None else msgspec.json.decode(data, type=Ended)
    except msgspec.MsgspecError:
        return None


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


def owner(directory: Path) -> int | None:
    """Process id of the job in `directory`, if there is one."""
    if not locked(directory):
        return None
    text = (directory / LOCK).read_text().strip()
    return int(text) if text.isdigit() else None


def _of(error: BaseException) -> Ended:
    if not isinstance(error, HinterlandError):
        return Ended(reason=f"{type(error).__name__}: {error}")
    final = not isinstance(error, TransportError | FaultError)
    return Ended(reason=" ".join(part for part in (str(error), error.hint) if part), final=final)


def _try_lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        time.sleep(0.05)
        return False
    return True
