"""Precautions taken out of the code of one process, to see that the suite notices that they are missing."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from edge.inference import host
from edge.update.attempt import Attempt
from edge.update.machine import Event
from edge.update.slots import Slots
from shared import durable


def no_fsync() -> None:
    """Nothing is ever synced."""
    os.fsync = lambda _descriptor: None


def only_the_directory() -> None:
    """Renames are synced, but not the bytes of the files."""
    sync = os.fsync

    def directories(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            sync(descriptor)

    os.fsync = directories


def no_rename() -> None:
    """Files are overwritten where they lie, and then synced."""

    def write_in_place(path: Path, write: Callable[[BinaryIO], object], mode: int) -> None:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        durable.sync_directory(path.parent)

    durable._replace = write_in_place


def rename_first() -> None:
    """Files are renamed, and synced afterwards."""

    def rename_then_sync(path: Path, write: Callable[[BinaryIO], object], mode: int) -> None:
        descriptor, name = tempfile.mkstemp(dir=path.parent)
        with os.fdopen(descriptor, "wb") as file:
            write(file)
            file.flush()
            Path(name).replace(path)
            os.fsync(file.fileno())
        durable.sync_directory(path.parent)

    durable._replace = rename_then_sync


def no_digest() -> None:
    """Whatever lies in a slot is loaded."""
    host.read_proven = lambda path, _variant: path.read_bytes()


def effect_before_journal() -> None:
    """A slot is committed before the journal says that it is tried."""
    commit = Slots.commit

    async def go(self: Attempt, event: Event, **facts: object) -> None:
        if event is Event.TRIED:
            commit(self._slots, self._entry.slot)
        await original(self, event, **facts)

    original = Attempt._go
    Attempt._go = go
