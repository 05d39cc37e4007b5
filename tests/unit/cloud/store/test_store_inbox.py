"""Nonsense from one device is counted and harms nobody else's records."""

import math

import pytest
from msgspec.structs import replace
from sqlalchemy import select

from cloud.ingest.inbox import Arrival
from cloud.store.inbox import SqlInbox, heads
from cloud.store.reports import statuses
from cloud.store.tables import telemetry
from cloud.store.telemetry import labels_held
from shared.codec import pack
from shared.messages import Batch, DriftReport, Record, Stage, Stall, Telemetry, UpdateStatus
from shared.topics import Up

GOOD = Telemetry(pipeline="p", model="m", release="m-1", since=0, until=1, processed=1, errors=0)


def send(inbox, *bodies, device="a", channel=Up.TELEMETRY, first=1):
    records = [Record(seq=first + number, at=1.0, body=body) for number, body in enumerate(bodies)]
    return inbox.store([Arrival(device, Batch(boot="0" * 16, channel=channel, records=records))], at=2.0)


def malformed(database):
    with database.read() as connection:
        return sum(head.malformed for head in heads(connection))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        pack(UpdateStatus(model="m", release="m-1", stage=Stage.ACTIVE)),
        pack(Telemetry(pipeline="p" * 81, model="m", release="m-1", since=0, until=1, processed=1, errors=0)),
        pack(Telemetry(pipeline="p\0", model="m", release="m-1", since=0, until=1, processed=1, errors=0)),
        pack(Telemetry(pipeline="p", model="m", release="m-1", since=0, until=1, processed=2**63, errors=0)),
        pack(Telemetry(pipeline="p", model="m", release="m-1", since=0, until=1, processed=-1, errors=0)),
        pack(Telemetry(pipeline="p", model="m", release="m-1", since=math.nan, until=1, processed=1, errors=0)),
        pack(Telemetry(pipeline="p", model="m", release="m-1", since=0, until=math.inf, processed=1, errors=0)),
        pack(replace(GOOD, dropped_by={"late": -1})),
        pack(replace(GOOD, dropped_by={"late": 2**63})),
        pack(replace(GOOD, dropped_by={"\0": 1})),
        pack(replace(GOOD, dropped_by={"x" * 81: 1})),
        pack(replace(GOOD, dropped_by={str(number): 1 for number in range(33)})),
        pack(replace(GOOD, stalls=[Stall(reason="silent", since=math.nan, noticed=1)])),
        pack(replace(GOOD, stalls=[Stall(reason="silent", since=0, noticed=1, text="x" * 2001)])),
        pack(replace(GOOD, stalls=[Stall(reason="\0", since=0, noticed=1)])),
    ],
)
def test_a_body_that_cannot_be_read_is_acknowledged_and_counted(database, body):
    assert send(SqlInbox(database), pack(GOOD), body, pack(GOOD)) == [3]
    assert malformed(database) == 1
    with database.read() as connection:
        assert len(connection.execute(select(telemetry)).all()) == 2


def test_the_last_activation_is_what_serves(database):
    inbox = SqlInbox(database)
    steps = [("m-1", Stage.ACTIVE), ("m-2", Stage.TRIAL), ("m-2", Stage.ROLLED_BACK)]
    send(
        inbox,
        *(pack(UpdateStatus(model="m", release=r, stage=stage, reason="crashed")) for r, stage in steps),
        channel=Up.UPDATE,
    )
    with database.read() as connection:
        (status,) = statuses(connection, device="a")
    assert (status.serving, status.release, status.stage, status.reason) == ("m-1", "m-2", Stage.ROLLED_BACK, "crashed")


def test_labels_held_are_those_of_the_newest_window(database):
    inbox = SqlInbox(database)
    for number, held in enumerate([5, 9, 7]):
        body = Telemetry(
            pipeline="p", model="m", release="m-1", since=0, until=1, processed=1, errors=0, labels_held=held
        )
        send(inbox, pack(body), first=number + 1)
    with database.read() as connection:
        assert labels_held(connection, "m") == {"a": 7}


def test_a_drift_report_is_kept_whole(database):
    report = DriftReport(
        pipeline="p",
        model="m",
        release="m-1",
        since=0,
        until=1,
        count=3,
        features={"x": b"k"},
        confidence=b"",
        classes={"a": 3},
    )
    send(SqlInbox(database), pack(report), channel=Up.DRIFT)
    from cloud.store.drift import DriftStore

    with database.read() as connection:
        (row,) = DriftStore(connection).reports(after=0)
    assert (row.device, row.release, row.body) == ("a", "m-1", pack(report))
