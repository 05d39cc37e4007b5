"""High-water marks on disk: two sealed copies, written one after the other.

A power cut tears at most the copy being written, and the seal shows which. When copies exist but none is
whole, the device must not start from zero: that is what someone who wants to replay would have it do.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from shared.durable import read_if_present, write_atomic
from shared.errors import FaultError, TrustError
from shared.ids import sha256
from shared.trust.marks import Marks

COPIES = ("marks-1.json", "marks-2.json")

SEAL = 64
"""Characters of the hexadecimal SHA-256 that opens each copy, before a line feed."""


class MarkStore:
    """Keeps `Marks` in a directory."""

    def __init__(self, directory: Path) -> None:
        self._paths = [directory / name for name in COPIES]

    def load(self) -> Marks:
        """The highest marks that any whole copy holds; empty ones on a device that never had any.

        Raises:
            TrustError: copies exist, but none is whole.
        """
        copies = [data for path in self._paths if (data := self._read(path)) is not None]
        whole = [marks for data in copies if (marks := unseal(data)) is not None]
        if copies and not whole:
            raise TrustError(
                "the high-water marks are damaged, so replayed metadata could not be told from fresh metadata",
                hint="Enrol this device again.",
            )
        merged = Marks()
        for marks in whole:
            merged = merged.merge(marks)
        return merged

    def save(self, marks: Marks) -> None:
        """Make `marks` survive a power cut.

        Raises:
            FaultError: the disk refuses; nothing that depends on the new marks may happen.
        """
        for path in self._paths:
            write_atomic(path, seal(marks))

    @staticmethod
    def _read(path: Path) -> bytes | None:
        try:
            return read_if_present(path)
        except FaultError:
            return b""  # an unreadable copy counts as damaged; the other one may be whole


def seal(marks: Marks) -> bytes:
    """Bytes of one copy: digest, line feed, JSON."""
    body = msgspec.json.encode(marks, order="sorted")
    return f"{sha256(body)}\n".encode() + body


def unseal(data: bytes) -> Marks | None:
    """The marks of one copy, or None when it is torn, zeroed or altered by accident."""
    body = data[SEAL + 1 :]
    if data[: SEAL + 1] != f"{sha256(body)}\n".encode():
        return None
    try:
        return msgspec.json.decode(body, type=Marks)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
