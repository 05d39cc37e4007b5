"""The database opens from nothing, migrates, survives reopening, and serialises writers."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from cloud.store.database import open_database, public_url, sqlite_url
from cloud.store.events import Events
from cloud.store.migrations import migrate
from cloud.store.tables import metadata
from shared.errors import FaultError


def test_the_migrated_schema_is_the_one_in_tables(tmp_path):
    database = open_database(sqlite_url(tmp_path / "db.sqlite"))
    with database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    database.close()


def test_migrating_again_changes_nothing(tmp_path):
    database = open_database(sqlite_url(tmp_path / "db.sqlite"))
    with database.write() as connection:
        Events(connection).add("test", "x", "kept", at=1.0)
    migrate(database.engine)
    with database.read() as connection:
        assert [event.text for event in Events(connection).after(0)] == ["kept"]
    database.close()


def test_sqlite_is_opened_so_that_a_commit_survives_a_power_cut(database):
    with database.read() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(text("PRAGMA synchronous")).scalar() == 2  # FULL
        assert connection.execute(text("PRAGMA foreign_keys")).scalar() == 1


def test_a_block_that_raises_leaves_nothing(database):
    with pytest.raises(ValueError, match="no"), database.write() as connection:
        Events(connection).add("test", "x", "gone", at=1.0)
        raise ValueError("no")
    with database.read() as connection:
        assert Events(connection).after(0) == []


def test_read_then_write_of_many_threads_queues_instead_of_failing(database):
    def add(number):
        with database.write() as connection:
            count = len(Events(connection).after(0))
            Events(connection).add("test", "x", str(count), at=number)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(24)))
    with database.read() as connection:
        assert [event.text for event in Events(connection).after(0)] == [str(n) for n in range(24)]


def test_a_missing_directory_says_what_to_do(tmp_path):
    with pytest.raises(FaultError) as caught:
        open_database(sqlite_url(tmp_path / "none" / "db.sqlite"))
    assert "hinterland-coordinator init" in caught.value.hint


def test_passwords_of_urls_are_not_shown():
    assert "secret" not in public_url("postgresql+psycopg://hinterland:secret@db/hinterland")
