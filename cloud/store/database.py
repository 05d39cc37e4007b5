"""Connections and transactions; the only file that knows which SQL server is behind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, OperationalError

from shared.errors import FaultError

BUSY_MS = 10_000
"""How long a writer waits for another one before it gives up."""

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

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that commits when the block ends and rolls back when it raises.

        On SQLite it takes the writer's lock at once, so two writers queue instead of deadlocking half-way.

        Raises:
            FaultError: the disk is full, the file is gone, or the server does not answer.
        """
        with _faults(), self.engine.connect() as connection, connection.begin():
            yield connection

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

    engine = create_engine(url)
    if engine.dialect.name == "sqlite":
        _prepare_sqlite(engine)
    with _faults():
        migrate(engine)
    return Database(engine)


def sqlite_url(path: Path) -> str:
    """URL of an SQLite file."""
    return f"sqlite:///{path}"


def public_url(url: str) -> str:
    """`url` without its password, for logs and health answers."""
    return make_url(url).render_as_string(hide_password=True)


def _prepare_sqlite(engine: Engine) -> None:
    """Take transactions out of the driver's hands, which would open them only at the first write."""

    @event.listens_for(engine, "connect")
    def connect(connection: Any, _record: object) -> None:  # the driver's own connection has no common type
        connection.isolation_level = None
        for pragma in _SQLITE_PRAGMAS:
            connection.execute(pragma)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        reading = connection.get_execution_options().get("hinterland_read", False)
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


@contextmanager
def _faults() -> Iterator[None]:
    try:
        yield
    except OperationalError as error:
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
