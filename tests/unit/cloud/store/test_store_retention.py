"""What is forgotten, and that nothing else is."""

import pytest
from sqlalchemy import func, select

from cloud.store import tables
from cloud.store.database import open_database, sqlite_url
from cloud.store.events import Events
from cloud.store.inbox import Arrival, SqlInbox
from cloud.store.retention import BATCH, DAY, Retention
from shared.clock import VirtualClock
from shared.codec import pack
from shared.messages import Batch, Record, Telemetry
from shared.sketch import Sketch
from shared.topics import Up


@pytest.fixture
def database(tmp_path):
    opened = open_database(sqlite_url(tmp_path / "state.db"))
    yield opened
    opened.close()


def window(at):
    return Telemetry(
        pipeline="wrist",
        model="activity",
        release="activity-1",
        since=0.0,
        until=1.0,  # a device whose clock began in 1970
        processed=50,
        errors=0,
        latency_ms=Sketch([1.0]).to_bytes(),
    )


def store(database, seq, at):
    record = Record(seq=seq, at=1.0, body=pack(window(at)))
    return SqlInbox(database).store(
        [Arrival("watch-1", Batch(boot="0" * 16, channel=Up.TELEMETRY, records=[record]))], at=at
    )


def rows(database, table):
    with database.read() as connection:
        return connection.scalar(select(func.count()).select_from(table))


def test_age_is_by_our_clock_and_a_resent_record_still_counts_once(database):
    store(database, 1, at=10 * DAY)
    store(database, 2, at=99 * DAY)
    forgetful = Retention(database=database, clock=VirtualClock(101 * DAY), days=90.0)
    assert forgetful.forget() == 1
    assert rows(database, tables.telemetry) == 1
    store(database, 1, at=101 * DAY)  # its acknowledgement was lost, and the device was away for months
    assert rows(database, tables.telemetry) == 1


def test_more_than_a_batch_goes_and_the_audit_log_stays(database):
    with database.write() as connection:
        for number in range(BATCH + 10):
            Events(connection).add("test", "x", str(number), at=float(number))
    assert Retention(database=database, clock=VirtualClock(100 * DAY), days=1.0).forget() == BATCH + 10
    assert rows(database, tables.events) == 0


def test_nothing_is_forgotten_when_told_so(database):
    store(database, 1, at=1.0)
    assert Retention(database=database, clock=VirtualClock(1000 * DAY), days=0.0).forget() == 0
    assert rows(database, tables.telemetry) == 1
