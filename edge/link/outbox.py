"""What the coordinator has not yet acknowledged: bounded, durable, in order.

SQLite in WAL mode with `synchronous=FULL`: `NORMAL` loses the last commits at a power cut. Records leave only after
the coordinator's own acknowledgement, or, over the cap, oldest first, and then they are counted.

A disk that takes no writes any more must not silence a device: from then on records are kept in memory under an epoch
of their own, until the next start. What waits on the disk stays there and goes out after it.
"""

from __future__ import annotations

import errno
import logging
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import NamedTuple

from shared.clock import Clock
from shared.codec import MAX_MESSAGE
from shared.errors import ContractError, FaultError
from shared.messages import Ack, Batch, Record
from shared.topics import Up

log = logging.getLogger(__name__)

CHANNELS = (Up.UPDATE, Up.SHADOW, Up.TELEMETRY, Up.DRIFT)
"""What is acknowledged, the most wanted first."""

MAX_BATCH = 64 << 10
"""Bytes of bodies in one batch, so that a slow link is never held by one message; a larger record goes alone."""

MAX_RECORDS = 512
"""Records in one batch."""

MAX_BODY = MAX_MESSAGE - (4 << 10)
"""Bytes of one body, with room for the batch around it."""

MEMORY_CAP = 8 << 20
"""Most bytes of records in memory; what inference needs comes first."""

_READ_ONLY = frozenset({sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN})
"""Primary result codes of a disk that takes nothing; a full one may have room again, and is waited for."""

OVERHEAD = 64
"""Bytes a record costs on disk beside its body, about."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS epoch (id TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS channel (name TEXT PRIMARY KEY, last INTEGER NOT NULL, dropped INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS record (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    channel TEXT NOT NULL, seq INTEGER NOT NULL, at REAL NOT NULL, body BLOB NOT NULL,
    UNIQUE (channel, seq)
);
"""


class Ledger(NamedTuple):
    """One channel's account: `last` records were appended, `pending` wait, `dropped` were given up."""

    last: int
    pending: int
    dropped: int


class Outbox:
    """Store-and-forward on disk; thread-safe, and each call blocks for at most one commit."""

    def __init__(self, connection: sqlite3.Connection, *, cap: int, clock: Clock, random: Random) -> None:
        """Use `open`."""
        self._connection = connection
        self._cap = cap
        self._clock = clock
        self._random = random
        self._lock = threading.Lock()
        self._ledgers: dict[Up, Ledger] = {}
        self._bytes = 0
        self.durable = True
        """False once records are kept in memory only."""

        self.epoch = ""
        """Random id made with the file; (device, epoch, channel, seq) names a record for ever."""

        self._begin()

    @classmethod
    def open(cls, directory: Path, *, cap: int, clock: Clock, random: Random) -> Outbox:
        """Open or make the outbox in `directory`; a damaged one is set aside and a new epoch begins.

        Args:
            directory: made when missing.
            cap: most bytes of waiting records.
            clock: dates the records.
            random: makes the epoch's id; give a `SystemRandom` in production.

        Raises:
            FaultError: there is no such place; a disk that takes no writes is none, and has memory in its stead.
        """
        try:
            return cls._on_disk(directory, cap=cap, clock=clock, random=random)
        except FaultError as error:
            if not _takes_nothing(error):
                raise
            log.error("records are kept in memory: %s", error)  # noqa: TRY400 - expected kind of error
            return cls.in_memory(cap=cap, clock=clock, random=random)

    @classmethod
    def in_memory(cls, *, cap: int, clock: Clock, random: Random) -> Outbox:
        """One that ends with the process."""
        outbox = cls(_memory(), cap=min(cap, MEMORY_CAP), clock=clock, random=random)
        outbox.durable = False
        return outbox

    @classmethod
    def _on_disk(cls, directory: Path, *, cap: int, clock: Clock, random: Random) -> Outbox:
        path = directory / "outbox.sqlite"
        try:
            directory.mkdir(parents=True, exist_ok=True)
            try:
                return cls(_connect(path), cap=cap, clock=clock, random=random)
            except sqlite3.OperationalError:
                raise
            except sqlite3.DatabaseError as error:
                log.error("the outbox is damaged and starts anew; what waited in it is lost: %s", error)  # noqa: TRY400 - the trace says nothing more
                _set_aside(path)
                return cls(_connect(path), cap=cap, clock=clock, random=random)
        except (OSError, sqlite3.Error) as error:
            raise FaultError(
                f"the outbox {path} cannot be used: {error}", hint="Check space and rights of the disk."
            ) from error

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def append(self, channel: Up, body: bytes) -> int:
        """Keep one record; return its sequence number. Durable on return.

        Raises:
            ContractError: the body is too large to ever be sent.
            FaultError: the disk does not take it; the record has no number and is lost.
        """
        return self.extend([(channel, body)])[0]

    def extend(self, items: Sequence[tuple[Up, bytes]]) -> list[int]:
        """Keep several records in one commit; return their sequence numbers."""
        for _, body in items:
            if len(body) > MAX_BODY:
                raise ContractError(f"a record of {len(body)} bytes is over the limit of {MAX_BODY}")
        try:
            return self._extend(items)
        except FaultError as error:
            if not self._retreat(error):
                raise
        return self._extend(items)

    def _extend(self, items: Sequence[tuple[Up, bytes]]) -> list[int]:
        at = self._clock.now()
        with self._transaction():
            numbers = [self._insert(channel, body, at) for channel, body in items]
            self._trim()
        return numbers

    def batch(self, channel: Up) -> Batch | None:
        """The oldest records of a channel, or None when it has none.

        Always from the oldest on: the coordinator relies on everything before a batch being settled.
        """
        with self._lock, _faults():
            rows = self._connection.execute(
                "SELECT seq, at, body FROM record WHERE channel = ? ORDER BY seq LIMIT ?", (channel, MAX_RECORDS)
            )
            records = list(_bounded(Record(seq=seq, at=at, body=body) for seq, at, body in rows))
            dropped = self._ledgers[channel].dropped
        return Batch(boot=self.epoch, channel=channel, records=records, dropped=dropped) if records else None

    def acknowledge(self, ack: Ack) -> int:
        """Forget what the coordinator has committed; return how many records that were.

        Raises:
            ContractError: it acknowledges what was never written.
        """
        if ack.boot != self.epoch:
            return 0  # for an epoch before the file was lost
        if ack.channel not in self._ledgers or ack.seq > self._ledgers[ack.channel].last:
            raise ContractError(f"{ack.channel} {ack.seq} was acknowledged, but never written")
        try:
            with self._transaction():
                where = (ack.channel, ack.seq)
                done = self._connection.execute("DELETE FROM record WHERE channel = ? AND seq <= ?", where).rowcount
                self._count()
        except FaultError as error:
            if not self._retreat(error):
                raise
            return 0  # it stays on the disk, and is told again, once, after the next start
        return done

    def ledger(self, channel: Up) -> Ledger:
        """The channel's account; never blocks."""
        return self._ledgers[channel]

    def _retreat(self, error: FaultError) -> bool:
        """Go on in memory if the disk takes nothing any more; whether that is so."""
        with self._lock:
            if self.durable and _takes_nothing(error):
                log.error("the disk takes no records: from now on they are kept in memory (%s)", error)
                self._connection.close()
                self._connection, self.durable = _memory(), False
                self._cap = min(self._cap, MEMORY_CAP)
                self._begin()
            return _takes_nothing(error)

    def _begin(self) -> None:
        """Have the tables, an epoch and an account of both."""
        self._connection.executescript(_SCHEMA)
        self.epoch = self._epoch(self._random)
        self._count()

    def _insert(self, channel: Up, body: bytes, at: float) -> int:
        seq = self._ledgers[channel].last + 1
        self._connection.execute(
            "INSERT INTO record (channel, seq, at, body) VALUES (?, ?, ?, ?)", (channel, seq, at, body)
        )
        self._connection.execute("UPDATE channel SET last = ? WHERE name = ?", (seq, channel))
        ledger = self._ledgers[channel]
        self._ledgers[channel] = ledger._replace(last=seq, pending=ledger.pending + 1)
        self._bytes += len(body) + OVERHEAD
        return seq

    def _trim(self) -> None:
        while self._bytes > self._cap:
            oldest = "SELECT id, channel, length(body) FROM record ORDER BY id LIMIT 1"
            number, name, size = self._connection.execute(oldest).fetchone()
            self._connection.execute("DELETE FROM record WHERE id = ?", (number,))
            self._connection.execute("UPDATE channel SET dropped = dropped + 1 WHERE name = ?", (name,))
            ledger = self._ledgers[Up(name)]
            self._ledgers[Up(name)] = ledger._replace(pending=ledger.pending - 1, dropped=ledger.dropped + 1)
            self._bytes -= size + OVERHEAD

    def _epoch(self, random: Random) -> str:
        with self._connection:
            for channel in CHANNELS:
                self._connection.execute("INSERT OR IGNORE INTO channel VALUES (?, 0, 0)", (channel,))
            row = self._connection.execute("SELECT id FROM epoch").fetchone()
            if row is None:
                row = (f"{random.getrandbits(64):016x}",)
                self._connection.execute("INSERT INTO epoch VALUES (?)", row)
        return str(row[0])

    def _count(self) -> None:
        rows = self._connection.execute(
            "SELECT name, last, dropped, (SELECT count(*) FROM record WHERE channel = name) FROM channel"
        )
        self._ledgers = {Up(name): Ledger(last, pending, dropped) for name, last, dropped, pending in rows}
        total = self._connection.execute("SELECT coalesce(sum(length(body) + ?), 0) FROM record", (OVERHEAD,))
        self._bytes = int(total.fetchone()[0])

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock, _faults():
            try:
                with self._connection:
                    yield
            except BaseException:
                self._count()
                raise


def _bounded(records: Iterator[Record]) -> Iterator[Record]:
    size = 0
    for record in records:
        size += len(record.body) + OVERHEAD
        if size > MAX_BATCH and size > len(record.body) + OVERHEAD:
            return
        yield record


def _takes_nothing(error: FaultError) -> bool:
    """Whether the disk behind an error is one that takes no writes any more."""
    cause = error.__cause__
    if isinstance(cause, OSError):
        return cause.errno in (errno.EROFS, errno.EIO)
    return getattr(cause, "sqlite_errorcode", 0) & 0xFF in _READ_ONLY


def _memory() -> sqlite3.Connection:
    return sqlite3.connect(":memory:", check_same_thread=False)  # guarded by the outbox's own lock


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, check_same_thread=False)  # guarded by the outbox's own lock
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        _check(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _check(connection: sqlite3.Connection) -> None:
    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise sqlite3.DatabaseError(verdict)


def _set_aside(path: Path) -> None:
    path.replace(path.with_suffix(".damaged"))
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


@contextmanager
def _faults() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise FaultError(f"the outbox failed: {error}", hint="Check space and rights of the disk.") from error
