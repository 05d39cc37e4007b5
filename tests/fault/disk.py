"""What a process asks of its disk, counted; and the end of the process, or an error, at one of these requests.

Every request that changes the disk goes through `os` here: `shared.durable` and python-tuf use it, and a file object
that is opened for writing is given a raw file whose writes are counted.
"""

from __future__ import annotations

import errno
import io
import os
import signal
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

CALLS = (
    "write", "pwrite", "fsync", "fdatasync", "replace", "rename", "unlink", "remove", "mkdir", "rmdir", "ftruncate",
    "symlink", "link",
)  # fmt: skip
"""Functions of `os` that change a disk; `open` counts where it makes a file."""

WRITES = frozenset({"write", "pwrite"})
SYNCS = frozenset({"fsync", "fdatasync"})
SETTLED = SYNCS | {"replace", "rename"}

Act = Callable[[int, str], None]
"""Told (number, name) of a request."""


@dataclass(frozen=True)
class Fate:
    """What happens at request `at`, from 1: `kill` before it, `torn` in the middle of a write, or an error's name."""

    at: int
    what: str = "kill"
    lasts: bool = False
    """Whether every later request of that name fails, too: a disk that is broken, or full, stays so."""


@dataclass
class Disk:
    """Wraps `os` of this process for good: only for processes that end soon."""

    fate: Fate | None = None
    after: Act | None = None
    """Told after each request."""

    asked: list[str] = field(default_factory=list)
    """Names of the requests, in order."""

    hit: str = ""
    """The request that failed."""

    def install(self) -> None:
        self._lock = threading.Lock()
        tempfile.gettempdir()  # looks for a place to write by writing, the first time: no step of an update
        for name in CALLS:
            setattr(os, name, self._counted(name, getattr(os, name)))
        opened, self._fdopen = os.open, os.fdopen

        def make(path: Any, flags: int, *arguments: Any, **named: Any) -> int:
            if not flags & os.O_CREAT:
                return opened(path, flags, *arguments, **named)
            return int(self._ask("open", lambda: opened(path, flags, *arguments, **named)))

        os.open = make
        os.fdopen = self._file

    def _file(self, descriptor: int, mode: str = "r", *arguments: Any, **named: Any) -> Any:
        if mode != "wb":
            return self._fdopen(descriptor, mode, *arguments, **named)
        return io.BufferedWriter(_Raw(self, descriptor))

    def _counted(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            half = None
            if name in WRITES:
                descriptor, data, *rest = arguments

                def half() -> Any:
                    return original(descriptor, bytes(data)[: len(data) // 2], *rest)

            return self._ask(name, lambda: original(*arguments, **named), half)

        return call

    def _ask(self, name: str, original: Callable[[], Any], half: Callable[[], Any] | None = None) -> Any:
        with self._lock:
            self.asked.append(name)
            number = len(self.asked)
        if self.fate is not None and (number == self.fate.at or (self.fate.lasts and name == self.hit)):
            self._strike(name, half)
        result = original()
        if self.after is not None:
            self.after(number, name)
        return result

    def _strike(self, name: str, half: Callable[[], Any] | None) -> None:
        assert self.fate is not None
        if self.fate.what in ("kill", "torn"):
            if self.fate.what == "torn" and half is not None:
                half()
            os.kill(os.getpid(), signal.SIGKILL)
        self.hit = name
        code = getattr(errno, self.fate.what)
        raise OSError(code, os.strerror(code))


class _Raw(io.FileIO):
    """A file whose writes are requests."""

    def __init__(self, disk: Disk, descriptor: int) -> None:
        super().__init__(descriptor, "wb")
        self._disk = disk

    def write(self, data: Any) -> int:
        def half() -> int:
            return super(_Raw, self).write(bytes(data)[: len(data) // 2])

        return int(self._disk._ask("write", lambda: super(_Raw, self).write(data), half))
