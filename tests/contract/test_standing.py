"""How devices stand, as one text by the database itself: on SQLite and on PostgreSQL."""

import pytest
from sqlalchemy import text

from cloud.store.database import open_database, sqlite_url
from cloud.store.devices import Devices
from tests.devices import enrolled


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.system)])
def database(request, tmp_path):
    server = request.getfixturevalue("postgres") if request.param == "postgresql" else None
    opened = open_database(server.database() if server else sqlite_url(tmp_path / "db.sqlite"))
    yield opened
    opened.close()


def device(number, *, fleet="f"):
    return enrolled(f"d-{number}", fleet=fleet, public_key=b"%d" % number, serial=str(number))


def said(database):
    with database.read() as connection:
        return Devices(connection).standing_said(), Devices(connection).standing()


def change(database, do):
    with database.write() as connection:
        do(Devices(connection))


def test_the_text_changes_whenever_a_standing_does_and_otherwise_never(database):
    assert said(database) == ("", [])
    steps = [
        *(lambda them, n=n: them.put(device(n)) for n in (3, 1, 2)),
        lambda them: them.bind_node("d-2", "77", key=b"2"),
        lambda them: them.revoke("d-1", at=2.0),
        lambda them: them.bind_node("d-2", "", key=b"2"),
        lambda them: them.put(device(3, fleet="g")),
    ]
    known = {said(database)[0]}
    for step in steps:
        change(database, step)
        now, standing = said(database)
        assert now not in known
        assert now == said(database)[0]
        assert now.splitlines() == [f"{d.id} {d.fleet} {d.state.value} {d.node}" for d in standing]
        known.add(now)
    change(database, lambda them: them.seen(["d-2"], 5.0))
    change(database, lambda them: them.label("d-2", {"site": "hall"}))
    assert said(database)[0] in known
    with database.write() as connection:
        connection.execute(text("DELETE FROM devices WHERE id = 'd-1'"))
    assert said(database)[0] not in known
