"""Connections and transactions; the only file that knows which SQL server is behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, func, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, InternalError, OperationalError

from shared.errors import FaultError

BUSY_MS = 10_000
"""How long a writer waits for another one before it gives up."""

IDLE_MS = 5_000
"""How long a transaction may pause before PostgreSQL ends it: its process was frozen, and holds back all writers. On
SQLite nobody can end it, and the others wait until the process goes on or is killed."""

WRITERS = 0x68_6C_64_62
"""Key of the advisory lock that PostgreSQL's writers queue for."""

_SQLITE_PRAGMAS = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",  # NORMAL lost every commit since the last checkpoint in a power cut
    "PRAGMA foreign_keys=ON",
    f"PRAGMA busy_timeout={BUSY_MS}",
)


@dataclass(frozen=True, slots=True)
class Database:
    """Short transactions over one engine; safe to share between threads."""

    engine: Engine
    guard: Callable[[Connection], None] | None = field(default=None, kw_only=True)
    """Asked at the begin of each write; what it raises ends the transaction."""

    def guarded(self, guard: Callable[[Connection], None]) -> Database:
        """The same database for those whose writes `guard` must let pass."""
        return replace(self, guard=guard)

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that commits when the block ends and rolls back when it raises.

        Writers queue: what one reads stays true until it commits, so counters and the audit chain need no retries.

        Raises:
            FaultError: the disk is full, the file is gone, or the server does not answer.
        """
        with _faults(), self.engine.connect() as connection, connection.begin():
            if self.guard is not None:
                self.guard(connection)
            yield connection

    @contextmanager
    def rehearse(self) -> Iterator[Connection]:
        """A writing transaction of which nothing stays: to see what an order would come to.

        Raises:
            FaultError: as for `write`.
        """
        with _faults(), self.engine.connect() as connection, connection.begin() as transaction:
            yield connection
            transaction.rollback()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A consistent view of what is committed; nothing written here is kept.

        Raises:
            FaultError: as for `write`.
        """
        with _faults(), self.engine.connect() as connection:
            yield connection.execution_options(hinterland_read=True)

    def close(self) -> None:
        """Give all connections back."""
        self.engine.dispose()


def open_database(url: str) -> Database:
    """Open the database at an SQLAlchemy `url` and bring its tables up to date.

    Raises:
        FaultError: it cannot be opened or migrated.
    """
    from cloud.store.migrations import migrate

    engine = create_engine(url, pool_pre_ping=not url.startswith("sqlite"))  # a server may have been restarted
    if engine.dialect.name == "sqlite":
        _prepare_sqlite(engine)
    elif engine.dialect.name == "postgresql":
        _prepare_postgresql(engine)
    with _faults():
        migrate(engine)
    return Database(engine)


def sqlite_url(path: Path) -> str:
    """URL of an SQLite file."""
    return f"sqlite:///{path}"


def public_url(url: str) -> str:
    """`url` without its password, for logs and health answers."""
    return make_url(url).render_as_string(hide_password=True)


def server_time(connection: Connection) -> float | None:
    """Unix seconds by the database's own clock; None where it has none but this machine's."""
    if connection.dialect.name == "sqlite":
        return None
    return float(connection.scalar(select(func.extract("epoch", func.clock_timestamp()))) or 0.0)


def _prepare_sqlite(engine: Engine) -> None:
    """Take transactions out of the driver's hands, which would open them only at the first write."""

    @event.listens_for(engine, "connect")
    def connect(connection: Any, _record: object) -> None:  # the driver's own connection has no common type
        connection.isolation_level = None
        for pragma in _SQLITE_PRAGMAS:
            connection.execute(pragma)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN" if _reads(connection) else "BEGIN IMMEDIATE")


def _prepare_postgresql(engine: Engine) -> None:
    """Have writers queue as they do on SQLite, by a lock that ends with the transaction."""

    @event.listens_for(engine, "connect")
    def connect(connection: Any, _record: object) -> None:  # the driver's own connection has no common type
        with connection.cursor() as cursor:  # a writer that was frozen must not hold back all others
            cursor.execute(f"SET idle_in_transaction_session_timeout = {IDLE_MS}")
        connection.commit()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        if not _reads(connection):
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({WRITERS})")


def _reads(connection: Connection) -> bool:
    return bool(connection.get_execution_options().get("hinterland_read", False))


@contextmanager
def _faults() -> Iterator[None]:
    try:
        yield
    except (OperationalError, InternalError) as error:
        raise FaultError(f"the database failed: {error.orig}", hint=_remedy(error)) from error


def _remedy(error: DBAPIError) -> str:
    text = str(error.orig)
    if "full" in text:
        return "Free disk space; nothing unacknowledged was lost, devices send it again."
    if "locked" in text:
        return "Another process holds the database; stop it or wait."
    if "unable to open" in text:
        return "Check that the directory exists and may be written; `hinterland-coordinator init` makes it."
    return "Check that the database server runs and that its disk is healthy."
