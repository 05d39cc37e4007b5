"""A variant's file as its chunks come in, in any order.

The file is its own journal: opening it hashes what lies there, so a power cut can lose chunks but never invent one.
Bytes go to the disk as they come: when the last chunk is there, writing all of them is not still to be done.

Every byte is hashed once on its way into the file, by its chunk, and once on its way out, as a whole, into the memory
that a model is loaded from (`shared.trust.read_proven`). A digest of the whole in between would say nothing of what
the disk made of the bytes, and nothing of them that the chunks, which add up to the file, have not said: only whether
the signers contradict themselves. That is found before anything is loaded, too, and the release is refused for it.
"""

from __future__ import annotations

import os
import shutil
import threading
from itertools import accumulate
from pathlib import Path

from shared.bundle import Variant
from shared.errors import FaultError, TrustError
from shared.ids import sha256
from shared.trust import SlotFact

SYNC_EVERY = 16 << 20
"""Bytes written before the disk is asked to keep them."""


class PartialFile:
    """Blocks on the disk; one thread at a time."""

    def __init__(self, path: Path, variant: Variant) -> None:
        """Open or make the file, and find out which chunks it holds already.

        Raises:
            FaultError: no room, or the disk failed.
        """
        self.path = path
        self.variant = variant
        self._offsets = [0, *accumulate(chunk.size for chunk in variant.chunks)][:-1]
        self._missing = set(range(len(variant.chunks)))
        self._unsynced = self._received = 0
        self._file = -1
        self._using = threading.RLock()  # a failed write closes the file itself
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            self._scan()
            self._require_room()
            os.ftruncate(self._file, variant.size)
        except OSError as error:
            raise self._fault(error) from error

    @property
    def missing(self) -> list[int]:
        """Indices of the chunks that are lacking, ascending."""
        return sorted(self._missing)

    @property
    def complete(self) -> bool:
        """Whether nothing is lacking."""
        return not self._missing

    def lacks(self, index: int) -> bool:
        """Whether chunk `index` is still lacking; any thread may ask."""
        return index in self._missing

    @property
    def received(self) -> int:
        """Bytes that are proven and written."""
        return self._received

    @property
    def closed(self) -> bool:
        """Whether no more chunks are taken."""
        return self._file < 0

    def accept(self, index: int, data: bytes | memoryview) -> bool:
        """Write chunk `index`; False when it is there already, or comes after the file was closed.

        Raises:
            TrustError: these are not the bytes that were signed; nothing was written.
            FaultError: the disk failed.
        """
        with self._using:
            return self._accept(index, data)

    def _accept(self, index: int, data: bytes | memoryview) -> bool:
        if index not in self._missing or self.closed:
            return False
        chunk = self.variant.chunks[index]
        if len(data) != chunk.size or sha256(data) != chunk.digest:
            raise TrustError(f"chunk {index} of {self.variant.name} is not the one that was signed")
        try:
            _write_all(self._file, data, self._offsets[index])
            self._keep(len(data))
            self._have(index)
        except OSError as error:
            raise self._fault(error) from error
        return True

    def seed(self, slot: SlotFact) -> int:
        """Copy the chunks that another release already brought; return how many."""
        wanted: dict[str, list[int]] = {}
        for index in self._missing:
            wanted.setdefault(self.variant.chunks[index].digest, []).append(index)
        copied = 0
        with slot.path.open("rb") as file:
            for chunk in slot.variant.chunks:
                if chunk.digest not in wanted:
                    file.seek(chunk.size, os.SEEK_CUR)
                    continue
                data = file.read(chunk.size)
                copied += sum([self.accept(index, data) for index in wanted[chunk.digest]])
        return copied

    def finish(self) -> Path:
        """Close the complete file, durable and proven by its chunks.

        What the disk makes of it is proven, as a whole, when it is loaded (`shared.trust.read_proven`).

        Raises:
            FaultError: the disk failed.
        """
        try:
            os.fsync(self._file)
        except OSError as error:
            raise self._fault(error) from error
        finally:
            self.close()
        return self.path

    def close(self) -> None:
        """Give the file back; what it holds stays for the next attempt.

        A thread that is writing a chunk is waited for: whoever asked it to may have been cancelled meanwhile, and the
        number of a closed file may be another one's at once.
        """
        with self._using:
            if self._file >= 0:
                os.close(self._file)
                self._file = -1

    def discard(self) -> None:
        """Close and remove the file, to give its space back."""
        self.close()
        self.path.unlink(missing_ok=True)

    def _scan(self) -> None:
        for index, (offset, chunk) in enumerate(zip(self._offsets, self.variant.chunks, strict=True)):
            data = os.pread(self._file, chunk.size, offset)
            if not data:
                break  # the end of the file
            if len(data) == chunk.size and sha256(data) == chunk.digest:
                self._have(index)

    def _have(self, index: int) -> None:
        self._received += self.variant.chunks[index].size
        self._missing.discard(index)  # last: who sees that nothing is lacking finishes the file, from another thread

    def _keep(self, size: int) -> None:
        """Have the disk take what was written, now and then."""
        self._unsynced += size
        if self._unsynced >= SYNC_EVERY:
            os.fdatasync(self._file)
            self._unsynced = 0

    def _require_room(self) -> None:
        free = shutil.disk_usage(self.path.parent).free
        needed = 2 * self.variant.size - self.received
        if free < needed:
            self.discard()
            raise FaultError(
                f"{self.variant.name} needs {needed >> 20} MiB of disk, {free >> 20} MiB are free",
                hint="Free some space; the device tries again by itself.",
            )

    def _fault(self, error: OSError) -> FaultError:
        self.discard()
        return FaultError(f"{self.variant.name} could not be kept: {error.strerror}", hint="Check the disk.")


def _write_all(file: int, data: bytes | memoryview, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(file, view, offset)
        view, offset = view[written:], offset + written
