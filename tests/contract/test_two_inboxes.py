"""Two coordinators that store one device's batches at the same moment, on SQLite and on PostgreSQL."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from random import Random

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from cloud.audit.log import AuditLog
from cloud.cluster.leadership import Leadership
from cloud.cluster.lease import FencedError, Holder
from cloud.devices.alarm import OnClone
from cloud.devices.watch import CloneWatch
from cloud.store.database import open_database, sqlite_url
from cloud.store.events import Events
from cloud.store.inbox import SqlInbox, heads, stored_twice
from cloud.store.tables import metadata
from shared.audit import verify
from shared.clock import SystemClock
from shared.errors import FaultError
from tests.contract.test_inbox import A, B, sent

BATCHES = 12


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.system)])
def url(request, tmp_path):
    if request.param == "postgresql":
        return request.getfixturevalue("postgres").database()
    return sqlite_url(tmp_path / "db.sqlite")


@pytest.fixture
def databases(url):
    opened = [open_database(url), open_database(url)]
    yield opened
    for database in opened:
        database.close()


def test_a_batch_that_reaches_both_is_stored_once_whatever_the_order(databases):
    """Each device's batches go to one, the other, or both after a resend, late and shuffled."""
    inboxes = [SqlInbox(database, watch=CloneWatch(on_clone=OnClone.REVOKE)) for database in databases]
    together = threading.Barrier(len(inboxes))

    def work(number: int) -> None:
        mine = [sent(device, 1 + 3 * batch, 3) for device in (A, B) for batch in range(BATCHES)]
        Random(number).shuffle(mine)
        together.wait()
        for arrival in mine:
            inboxes[number].store([arrival], at=1.0)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work, range(2)))
    with databases[0].read() as connection:
        assert {(head.device, head.stored, head.resent, head.highest) for head in heads(connection)} == {
            (device, 3 * BATCHES, 3 * BATCHES, 3 * BATCHES) for device in (A, B)
        }
        assert stored_twice(connection) == 0


def test_two_who_reach_for_the_lease_at_once_never_get_one_token(databases):
    clock = SystemClock()
    both = [
        Leadership(database, holder=Holder(replica=name, incarnation="1"), clock=clock, lease_s=30)
        for database, name in zip(databases, "ab", strict=True)
    ]
    for _ in range(5):
        with ThreadPoolExecutor(2) as pool:
            leads = list(pool.map(Leadership.turn, both))
        assert sorted(leads) == [False, True]
        first, second = sorted(both, key=lambda one: one.health.startswith("ok: leads"), reverse=True)
        first.begin()
        second.begin()
        first.check()
        with pytest.raises(FencedError):
            second.check()
        first.release()
    with databases[0].read() as connection:
        assert verify(AuditLog(connection).rows()) is None


def test_the_schema_is_the_one_in_tables_and_the_audit_log_only_grows(databases):
    with databases[0].read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    with databases[0].write() as connection:
        AuditLog(connection).add(at=1.0, actor="a", action="b", subject="c")
    with pytest.raises(Exception, match="only grows"), databases[1].write() as connection:
        connection.execute(text("DELETE FROM audit"))


@pytest.mark.system
def test_nothing_is_acknowledged_while_postgresql_is_away_and_it_goes_on_afterwards(postgres):
    database = open_database(postgres.database())
    inbox = SqlInbox(database)
    inbox.store([sent(A, 1, 3)], at=1.0)
    postgres.stop()
    try:
        with pytest.raises(FaultError):
            inbox.store([sent(A, 4, 3)], at=1.0)
    finally:
        postgres.start()
    assert inbox.store([sent(A, 4, 3)], at=1.0) == [6]
    database.close()


@pytest.mark.system
def test_a_writer_that_is_frozen_does_not_hold_up_the_others_for_ever(postgres, monkeypatch):
    monkeypatch.setattr("cloud.store.database.IDLE_MS", 300)
    url = postgres.database()
    frozen, other = open_database(url), open_database(url)
    with pytest.raises(FaultError), frozen.write() as connection:
        Events(connection).add("test", "x", "never kept", at=1.0)
        with other.write() as second:  # waits for the lock of all writers until the server ends the first
            Events(second).add("test", "x", "kept", at=1.0)
        Events(connection).add("test", "x", "never kept either", at=1.0)
    with other.read() as connection:
        assert [event.text for event in Events(connection).after(0)] == ["kept"]
    frozen.close()
    other.close()
