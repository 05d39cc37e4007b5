"""How batches are put together to be committed changes nothing about what they show of a device."""

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from cloud.devices.alarm import OnClone
from cloud.devices.watch import CloneWatch
from cloud.store.database import open_database, sqlite_url
from cloud.store.devices import Devices
from cloud.store.inbox import SqlInbox
from cloud.store.tables import devices as devices_table
from cloud.store.tables import epochs, inbox_heads, receipts
from shared.topics import Up
from tests.contract.test_inbox import A, B, sent
from tests.devices import enrolled

BATCHES = st.tuples(
    st.sampled_from([A, B]),
    st.sampled_from([1, 1, 2, 3, 5]),
    st.integers(1, 2),
    st.sampled_from(["0" * 16, "1" * 16]),
    st.sampled_from([Up.TELEMETRY, Up.UPDATE]),
)


def seen(directory, batches, cuts):
    """What is on record after `batches`, committed in groups that end at `cuts`."""
    database = open_database(sqlite_url(directory / "db.sqlite"))
    with database.write() as connection:
        connection.execute(epochs.delete())
        connection.execute(inbox_heads.delete())
        connection.execute(receipts.delete())
        connection.execute(devices_table.delete())
        for name in (A, B):
            Devices(connection).put(enrolled(name))
    inbox = SqlInbox(database, watch=CloneWatch(on_clone=OnClone.ALARM))
    ends = sorted({*cuts, len(batches)})
    for start, end in zip([0, *ends], ends, strict=False):
        if batches[start:end]:
            inbox.store(
                [sent(device, first, n, boot=b, channel=c) for device, first, n, b, c in batches[start:end]], at=1.0
            )
    with database.read() as connection:
        found = sorted(map(tuple, connection.execute(select(epochs)))), [d.alarm for d in Devices(connection).all()]
    database.close()
    return found


@settings(max_examples=40, deadline=None)
@given(batches=st.lists(BATCHES, min_size=1, max_size=14), cuts=st.sets(st.integers(1, 13)))
def test_a_group_shows_what_its_batches_show_one_by_one(batches, cuts):
    with tempfile.TemporaryDirectory() as place:
        assert seen(Path(place), batches, cuts) == seen(Path(place), batches, range(1, len(batches)))


def test_an_epoch_that_comes_back_within_one_group_raises_the_alarm(tmp_path):
    turns = [(A, 1 + turn // 2, 1, "01"[turn % 2] * 16, Up.UPDATE) for turn in range(9)]
    one_group = seen(tmp_path, turns, [])
    assert one_group == seen(tmp_path, turns, range(1, len(turns)))
    assert one_group[1][0], "two outboxes that take turns are two devices"
