"""The head of the audit log, noted outside the database: who alters the log would have to alter these too.

In a file that only grows, by default beside the database and better on another machine's disk; and in every signed
timestamp, which each device holds.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloud.audit.log import AuditLog
from cloud.store.database import Database
from shared.anchors import AUDIT, field_of
from shared.audit import Anchor, AuditRow, Signed, Witness, anchor_line, read_anchors
from shared.clock import Clock
from shared.durable import make_directory, read_if_present, sync_directory
from shared.errors import FaultError, TrustError

SHOWN = 1_000
"""Anchors that the API tells, spread over the whole log; the file has all of them."""


class AnchorFile:
    """A line for each anchor, appended and synced; safe to call from several threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._known: tuple[int, list[Anchor]] = (-1, [])

    def all(self) -> list[Anchor]:
        """Every anchor, oldest first.

        Raises:
            ContractError: a line was altered.
            FaultError: the file cannot be read.
        """
        with self._lock:
            return list(self._read())

    def last(self) -> Anchor | None:
        """The newest one; the file is read again only when its size is not what it was."""
        with self._lock:
            return next(reversed(self._read()), None)

    def append(self, anchor: Anchor) -> None:
        """Note an anchor; it survives a power cut once this returns.

        Raises:
            FaultError: the disk did not take it.
        """
        with self._lock:
            try:
                self._append(anchor_line(anchor))
            except OSError as error:
                raise FaultError(
                    f"no anchor could be written to {self.path}: {error.strerror}",
                    hint="Check the disk, or name another file: HINTERLAND_AUDIT_ANCHOR_FILE.",
                ) from error

    def _append(self, line: bytes) -> None:
        held = read_if_present(self.path) or b""
        if held and not held.endswith(b"\n"):
            line = b"\n" + line  # a power cut tore the last line, and this file may allow no truncation
        fresh = not self.path.exists()
        make_directory(self.path.parent)
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, line)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if fresh:
            sync_directory(self.path.parent)

    def _read(self) -> list[Anchor]:
        size = self.path.stat().st_size if self.path.exists() else 0
        if size != self._known[0]:
            held = read_if_present(self.path) or b""
            self._known = (len(held), read_anchors(held, source=self.path.name))
        return self._known[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchoring:
    """Notes the head whenever it is a new one."""

    database: Database
    file: AnchorFile
    clock: Clock

    def turn(self) -> None:
        """Note the newest row, if it is not noted yet.

        Raises:
            TrustError: the log contradicts its newest anchor; nothing more is noted until a person has looked.
            FaultError: a disk failed.
        """
        head = self._head()
        last = self.file.last()
        if head is not None and (last is None or head.number > last.number):
            self.file.append(Anchor(number=head.number, digest=head.digest, at=self.clock.now()))

    def stamp(self) -> Mapping[str, Any]:
        """The head as a field of the signed timestamp; nothing new when the log contradicts its anchors."""
        try:
            head = self._head()
        except TrustError:
            return {}  # `turn` raises the alarm; the timestamp keeps the last head that was true
        return {} if head is None else {AUDIT: field_of(head.number, head.digest)}

    def witness(self, signed: Callable[[], Signed | None]) -> Witness:
        """All that is known about earlier heads."""
        anchors = self.file.all()
        step = max(1, -(-len(anchors) // SHOWN))
        with self.database.read() as connection:
            head = AuditLog(connection).last()
        return Witness(
            anchors=anchors[::-1][::step][::-1],
            signed=signed(),
            head=None if head is None else Anchor(number=head.number, digest=head.digest),
        )

    def _head(self) -> AuditRow | None:
        last = self.file.last()
        with self.database.read() as connection:
            log = AuditLog(connection)
            held, head = None if last is None else log.row(last.number), log.last()
        if last is not None and (held is None or held.digest != last.digest):
            raise TrustError(
                f"the audit log was altered: row {last.number} is not the one that was anchored",
                hint="`hinterland audit verify` names the first bad row; compare with a backup.",
            )
        return head
