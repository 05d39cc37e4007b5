"""One suite for every inbox: a record is stored exactly once, and what is acknowledged is durable."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from cloud.ingest.inbox import Arrival, Inbox, MemoryInbox
from cloud.store.database import open_database, sqlite_url
from cloud.store.inbox import SqlInbox, heads
from cloud.store.tables import receipts
from shared.codec import pack
from shared.ids import device_id
from shared.messages import Batch, Record, Telemetry
from shared.topics import Up

A, B = device_id("device-a"), device_id("device-b")
BOOT, NEXT_BOOT = "0" * 16, "1" * 16
BODY = pack(Telemetry(pipeline="p", model="m", release="m-1", since=0, until=1, processed=1, errors=0))


@pytest.fixture(params=["memory", "sql", pytest.param("postgresql", marks=pytest.mark.system)])
def inbox(request, tmp_path):
    if request.param == "memory":
        memory = MemoryInbox()
        yield memory, lambda: sum(len(held) for held in memory.records.values())
        return
    server = request.getfixturevalue("postgres") if request.param == "postgresql" else None
    database = open_database(server.database() if server else sqlite_url(tmp_path / "db.sqlite"))

    def stored() -> int:
        with database.read() as connection:
            count = len(connection.execute(select(receipts)).all())
            assert count == sum(head.stored for head in heads(connection))
            return count

    yield SqlInbox(database), stored
    database.close()


def sent(device, first, count, *, boot=BOOT, channel=Up.TELEMETRY, dropped=0) -> Arrival:
    records = [Record(seq=seq, at=float(seq), body=BODY) for seq in range(first, first + count)]
    return Arrival(device, Batch(boot=boot, channel=channel, records=records, dropped=dropped))


def store(inbox: Inbox, *arrivals: Arrival) -> list[int]:
    return inbox.store(arrivals, at=1.0)


def test_a_batch_is_durable_up_to_its_last_record(inbox):
    box, stored = inbox
    assert store(box, sent(A, 1, 3)) == [3]
    assert stored() == 3


def test_the_same_batch_again_stores_nothing_and_is_acknowledged_again(inbox):
    box, stored = inbox
    assert store(box, sent(A, 1, 3)) == store(box, sent(A, 1, 3)) == [3]
    assert stored() == 3


def test_a_batch_that_grew_stores_only_what_is_new(inbox):
    box, stored = inbox
    store(box, sent(A, 1, 3))
    assert store(box, sent(A, 1, 5)) == [5]
    assert stored() == 5


def test_an_old_batch_that_comes_late_does_not_lower_the_acknowledgement(inbox):
    box, stored = inbox
    store(box, sent(A, 1, 3))
    store(box, sent(A, 4, 3))
    assert store(box, sent(A, 1, 3)) == [6]
    assert stored() == 6


def test_after_a_counted_loss_the_rest_is_acknowledged(inbox):
    box, stored = inbox
    assert store(box, sent(A, 101, 2, dropped=100)) == [102]
    assert stored() == 2


def test_streams_do_not_mix(inbox):
    box, stored = inbox
    several = [
        sent(A, 1, 1),
        sent(B, 1, 2),
        sent(A, 1, 3, channel=Up.DRIFT),
        sent(A, 1, 4, boot=NEXT_BOOT),
    ]
    assert store(box, *several) == [1, 2, 3, 4]
    assert stored() == 10


def test_one_group_may_hold_the_same_record_twice(inbox):
    box, stored = inbox
    assert store(box, sent(A, 1, 3), sent(A, 1, 5), sent(A, 2, 1)) == [5, 5, 5]
    assert stored() == 5


def test_nothing_is_stored_for_nothing(inbox):
    box, stored = inbox
    assert store(box) == []
    assert stored() == 0
