"""The client updates of one round, spilled to disk as they arrive and read back a stretch at a time.

A mean that takes updates in the order of their arrival changes with the network's mood, and a rule that compares
clients with each other needs them all. So an update goes to a file first, and once the round is closed, a rule reads
the same stretch of every client, *in the order of device names*: what it makes of them is a function of the updates
alone, bit for bit, whatever came first and however often a process was killed.

The bytes lie in the page cache, which the kernel gives back when memory runs short: the process itself grows by the
stretches it reads, not by models. The file has no name. A job that dies, however it dies, leaves nothing behind, and
the one after it asks the devices of the round again.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from shared.errors import ContractError, FaultError

UPDATE = "update"
"""Name of the vector that every client sends; extra vectors have names of their own."""

LARGEST = float(1 << 20)
"""Greatest magnitude of a weight, which the gate ensures: squares and sums of such numbers stay finite in float32."""

TILE = 1 << 18
"""Numbers of all clients that `blocks` reads at a time: 1 MiB, which stays in a core's second-level cache."""

LEAST, MOST = 1 << 12, 1 << 15
"""Numbers of one client in a block: shorter reads cost more in calls than in bytes, longer ones leave the cache."""

_WIDTH = 4
"""Bytes of a float32."""


class Entry(NamedTuple):
    """One client's part in the round."""

    examples: int
    at: dict[str, int]
    """Name of a vector → its first byte in the file."""


class Block(NamedTuple):
    """The same stretch of every client."""

    start: int
    """Index of the first number."""

    values: NDArray[np.float32]
    """[clients, length], in the order of `UpdateStore.devices`; overwritten by the next block."""


class UpdateStore:
    """The accepted updates of one round; a context manager that gives their disk space back."""

    def __init__(self, directory: Path, *, size: int) -> None:
        """Keep updates of `size` numbers each in a nameless file of `directory`.

        Raises:
            FaultError: the directory takes no file.
        """
        self.size = size
        self._entries: dict[str, Entry] = {}
        self._end = 0
        try:
            self._file = tempfile.TemporaryFile(dir=directory, buffering=0)  # noqa: SIM115  # closed by `close`
        except OSError as error:
            raise FaultError(
                f"no update can be kept in {directory}: {error.strerror}", hint="Check the disk."
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def devices(self) -> list[str]:
        """Whose updates are here, in the order in which every rule sees them."""
        return sorted(self._entries)

    @property
    def examples(self) -> list[int]:
        """The example count of each of `devices`."""
        return [self._entries[device].examples for device in self.devices]

    def add(
        self,
        device: str,
        update: NDArray[np.float32],
        *,
        examples: int,
        extras: Mapping[str, NDArray[np.float32]] | None = None,
    ) -> None:
        """Keep an update that passed the gate, and further vectors of the same length that came with it.

        It counts once all its bytes are in the file.

        Raises:
            ContractError: the device has an update here, or a vector is no float32[size].
            FaultError: the disk is full or failing; the update does not count.
        """
        vectors = {UPDATE: update, **(extras or {})}
        if device in self._entries:
            raise ContractError(f"{device} has an update in this round already")
        for name, values in vectors.items():
            if values.shape != (self.size,) or values.dtype != np.float32:
                raise ContractError(f"{name} is {values.dtype}{list(values.shape)}, not float32[{self.size}]")
        at, end = {}, self._end
        for name, values in vectors.items():
            self._write(np.ascontiguousarray(values), end)
            at[name] = end
            end += self.size * _WIDTH
        self._entries[device], self._end = Entry(examples, at), end

    def read(self, device: str, into: NDArray[np.float32], start: int, *, of: str = UPDATE) -> None:
        """Fill `into` with a device's numbers from index `start` on; several threads may read at once.

        Raises:
            ContractError: the device did not send a vector of that name.
            FaultError: the disk is failing.
        """
        entry = self._entries[device]
        if of not in entry.at:
            raise ContractError(f"{device} sent no {of}")
        self._fill(into, entry.at[of] + start * _WIDTH)

    def block_length(self) -> int:
        """Numbers of one client in a block: fewer the more clients there are."""
        return max(LEAST, min(MOST, TILE // max(len(self), 1)))

    def blocks(self, *, of: str = UPDATE) -> Iterator[Block]:
        """Go through vectors named `of`, all clients side by side."""
        length = self.block_length()
        devices = self.devices
        tile = np.empty((len(devices), length), dtype=np.float32)
        for start in range(0, self.size, length):
            yield Block(start, self.block(tile, devices, start, of=of))

    def block(
        self, tile: NDArray[np.float32], devices: list[str], start: int, *, of: str = UPDATE
    ) -> NDArray[np.float32]:
        """Fill the rows of `tile` with `devices`, as far as their vectors reach, and return the part that is filled."""
        part = tile[: len(devices), : self.size - start]
        for row, device in zip(part, devices, strict=True):
            self.read(device, row, start, of=of)
        return part

    def close(self) -> None:
        """Forget the updates and free their space."""
        self._entries.clear()
        self._file.close()

    def _write(self, values: NDArray[np.float32], at: int) -> None:
        data = values.data.cast("B") if values.size else memoryview(b"")
        try:
            while data:  # one call takes at most 2 GiB
                written = os.pwrite(self._file.fileno(), data, at)
                data, at = data[written:], at + written
        except OSError as error:
            raise FaultError(f"an update could not be kept: {error.strerror}", hint="Check the disk.") from error

    def _fill(self, into: NDArray[np.float32], at: int) -> None:
        try:
            while into.size:
                read = os.preadv(self._file.fileno(), [into.data], at)
                if read == into.nbytes:
                    return
                if read <= 0 or read % _WIDTH:
                    raise FaultError("an update that was kept is gone", hint="Check the disk.")
                into, at = into[read // _WIDTH :], at + read
        except OSError as error:
            raise FaultError(f"an update could not be read: {error.strerror}", hint="Check the disk.") from error
