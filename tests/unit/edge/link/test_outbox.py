import sqlite3
import threading
from random import Random

import pytest

from edge.link.outbox import MAX_BATCH, MAX_BODY, OVERHEAD, Ledger, Outbox
from shared.clock import VirtualClock
from shared.errors import ContractError, FaultError
from shared.messages import Ack
from shared.topics import Up


@pytest.fixture
def reopen(tmp_path):
    opened = []

    def make(cap=1 << 20, seed=1):
        opened.append(Outbox.open(tmp_path / "outbox", cap=cap, clock=VirtualClock(), random=Random(seed)))
        return opened[-1]

    yield make
    for outbox in opened:
        outbox.close()


def numbers(batch):
    return [record.seq for record in batch.records]


def test_channels_count_for_themselves_from_one(reopen):
    outbox = reopen()
    assert [outbox.append(Up.TELEMETRY, b"a"), outbox.append(Up.DRIFT, b"b"), outbox.append(Up.TELEMETRY, b"c")] == [
        1, 1, 2,
    ]  # fmt: skip
    batch = outbox.batch(Up.TELEMETRY)
    assert [(r.seq, r.body) for r in batch.records] == [(1, b"a"), (2, b"c")]
    assert (batch.boot, batch.channel, batch.dropped) == (outbox.epoch, Up.TELEMETRY, 0)


def test_nothing_waits_at_first(reopen):
    assert reopen().batch(Up.UPDATE) is None


def test_restart_keeps_epoch_numbers_and_records(reopen):
    first = reopen(seed=1)
    first.extend([(Up.TELEMETRY, b"1"), (Up.TELEMETRY, b"2")])
    first.acknowledge(Ack(boot=first.epoch, channel=Up.TELEMETRY, seq=1))
    first.close()
    second = reopen(seed=2)
    assert second.epoch == first.epoch
    assert numbers(second.batch(Up.TELEMETRY)) == [2]
    second.acknowledge(Ack(boot=second.epoch, channel=Up.TELEMETRY, seq=2))
    second.close()
    assert reopen(seed=3).append(Up.TELEMETRY, b"3") == 3


def test_over_the_cap_the_oldest_go_and_are_counted_for_ever(reopen):
    outbox = reopen(cap=3 * (100 + OVERHEAD))
    outbox.append(Up.DRIFT, bytes(100))
    for _ in range(4):
        outbox.append(Up.TELEMETRY, bytes(100))
    assert outbox.ledger(Up.DRIFT) == Ledger(last=1, pending=0, dropped=1)
    assert outbox.ledger(Up.TELEMETRY) == Ledger(last=4, pending=3, dropped=1)
    outbox.close()
    batch = reopen(cap=3 * (100 + OVERHEAD)).batch(Up.TELEMETRY)
    assert (numbers(batch), batch.dropped) == ([2, 3, 4], 1)


def test_batches_are_bounded_and_a_large_record_goes_alone(reopen):
    outbox = reopen(cap=1 << 22)
    outbox.append(Up.DRIFT, bytes(MAX_BODY))
    outbox.extend([(Up.DRIFT, bytes(1000))] * 100)
    assert numbers(outbox.batch(Up.DRIFT)) == [1]
    outbox.acknowledge(Ack(boot=outbox.epoch, channel=Up.DRIFT, seq=1))
    batch = outbox.batch(Up.DRIFT)
    assert 50 < len(batch.records) < 100
    assert sum(len(record.body) for record in batch.records) <= MAX_BATCH


def test_a_record_that_could_never_be_sent_is_refused(reopen):
    outbox = reopen()
    with pytest.raises(ContractError):
        outbox.append(Up.DRIFT, bytes(MAX_BODY + 1))
    assert outbox.append(Up.DRIFT, b"") == 1


def test_acknowledgements_repeat_and_come_late_without_harm(reopen):
    outbox = reopen()
    outbox.extend([(Up.UPDATE, b"")] * 3)
    ack = Ack(boot=outbox.epoch, channel=Up.UPDATE, seq=2)
    assert [outbox.acknowledge(ack), outbox.acknowledge(ack)] == [2, 0]
    assert numbers(outbox.batch(Up.UPDATE)) == [3]


def test_acknowledgement_of_another_epoch_changes_nothing(reopen):
    outbox = reopen()
    outbox.append(Up.UPDATE, b"")
    assert outbox.acknowledge(Ack(boot="0" * 16, channel=Up.UPDATE, seq=1)) == 0
    assert numbers(outbox.batch(Up.UPDATE)) == [1]


@pytest.mark.parametrize(("channel", "seq"), [(Up.UPDATE, 2), (Up.WANT, 1)])
def test_acknowledgement_of_what_was_never_written_is_refused(reopen, channel, seq):
    outbox = reopen()
    outbox.append(Up.UPDATE, b"")
    with pytest.raises(ContractError):
        outbox.acknowledge(Ack(boot=outbox.epoch, channel=channel, seq=seq))
    assert numbers(outbox.batch(Up.UPDATE)) == [1]


def test_a_damaged_file_is_set_aside_and_a_new_epoch_begins(reopen, tmp_path):
    first = reopen(seed=1)
    first.append(Up.UPDATE, b"")
    first.close()
    path = tmp_path / "outbox" / "outbox.sqlite"
    path.write_bytes(b"no database at all" * 100)
    second = reopen(seed=2)
    assert second.epoch != first.epoch
    assert second.append(Up.UPDATE, b"") == 1
    assert path.with_suffix(".damaged").exists()


def test_a_directory_that_cannot_be_made_says_so(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(FaultError, match="cannot be used"):
        Outbox.open(tmp_path / "file" / "outbox", cap=1, clock=VirtualClock(), random=Random(1))


def test_a_failed_commit_gives_no_number(reopen):
    outbox = reopen()
    outbox.append(Up.UPDATE, b"1")
    pages = outbox._connection.execute("PRAGMA page_count").fetchone()[0]
    outbox._connection.execute(f"PRAGMA max_page_count = {pages}")  # stands for a full disk
    with pytest.raises(FaultError):
        outbox.append(Up.UPDATE, bytes(100_000))
    outbox._connection.execute("PRAGMA max_page_count = 1000000")
    assert outbox.durable
    assert outbox.append(Up.UPDATE, b"2") == 2
    assert outbox.ledger(Up.UPDATE) == Ledger(last=2, pending=2, dropped=0)


def test_a_disk_that_takes_nothing_leaves_memory_and_an_epoch_of_its_own(reopen):
    outbox = reopen()
    outbox.append(Up.UPDATE, b"on disk")
    before = outbox.epoch
    outbox._connection.execute("PRAGMA query_only = ON")  # stands for a disk that went read-only
    assert outbox.append(Up.UPDATE, b"in memory") == 1
    assert (outbox.durable, outbox.epoch == before) == (False, False)
    assert [record.body for record in outbox.batch(Up.UPDATE).records] == [b"in memory"]
    assert outbox.acknowledge(Ack(boot=before, channel=Up.UPDATE, seq=1)) == 0
    assert outbox.acknowledge(Ack(boot=outbox.epoch, channel=Up.UPDATE, seq=1)) == 1
    outbox.close()
    again = reopen()
    assert again.epoch == before
    assert [record.body for record in again.batch(Up.UPDATE).records] == [b"on disk"]


def test_an_acknowledgement_that_cannot_be_written_is_no_reason_to_send_for_ever(reopen):
    outbox = reopen()
    outbox.append(Up.UPDATE, b"on disk")
    outbox._connection.execute("PRAGMA query_only = ON")
    assert outbox.acknowledge(Ack(boot=outbox.epoch, channel=Up.UPDATE, seq=1)) == 0
    assert outbox.batch(Up.UPDATE) is None


def test_writers_in_many_threads_leave_no_gap(reopen):
    outbox = reopen()
    threads = [
        threading.Thread(target=lambda: [outbox.append(Up.TELEMETRY, b"x") for _ in range(20)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert numbers(outbox.batch(Up.TELEMETRY)) == list(range(1, 81))


def test_commits_survive_a_power_cut_by_configuration(reopen, tmp_path):
    outbox = reopen()
    assert outbox._connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
    assert outbox._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    other = sqlite3.connect(tmp_path / "outbox" / "outbox.sqlite")
    outbox.append(Up.UPDATE, b"1")
    assert other.execute("SELECT count(*) FROM record").fetchone() == (1,)
    other.close()
