"""A real database of its own for every test."""

import pytest

from cloud.store.database import open_database, sqlite_url


@pytest.fixture
def database(tmp_path):
    opened = open_database(sqlite_url(tmp_path / "db.sqlite"))
    yield opened
    opened.close()
