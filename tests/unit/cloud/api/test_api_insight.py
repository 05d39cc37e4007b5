"""What devices said, as the API tells it."""

import numpy as np
import pytest
from msgspec.structs import replace

from cloud.ingest.inbox import Arrival
from cloud.store.drift import DriftScoreRow, DriftStore
from cloud.store.events import Events
from cloud.store.inbox import SqlInbox
from shared.codec import pack
from shared.messages import Batch, Pace, Record, Stage, Stall, Telemetry, UpdateStatus
from shared.sketch import Sketch
from shared.topics import Up


def batch(*bodies, first=1, channel=Up.TELEMETRY, boot="0" * 16, dropped=0):
    records = [Record(seq=first + n, at=1.0, body=pack(body)) for n, body in enumerate(bodies)]
    return Batch(boot=boot, channel=channel, records=records, dropped=dropped)


def window(release="activity-1", low=1.0, high=2.0, **changes):
    sketch = Sketch(np.linspace(low, high, 101)).to_bytes()
    fields = {"processed": 10, "errors": 0, "since": 0.0, "until": 5.0, "latency_ms": sketch}
    return Telemetry(pipeline="wrist", model="activity", release=release, **(fields | changes))


async def test_delivery_is_counted_per_device_and_in_total(world):
    inbox = SqlInbox(world.database)
    one = batch(window(), window())
    inbox.store([Arrival("watch-1", one), Arrival("watch-1", one)], at=1.0)
    inbox.store([Arrival("watch-2", batch(window(), first=4, dropped=3))], at=2.0)
    async with world.client() as client:
        summary = (await client.get("/telemetry/summary")).json()
    assert summary["devices"]["watch-1"] == {
        "sent": 2,
        "stored": 2,
        "lost": 0,
        "duplicated": 0,
        "resent": 2,
        "malformed": 0,
    }
    assert summary["devices"]["watch-2"]["lost"] == 3
    assert summary["total"]["sent"] == 6
    assert summary["total"]["duplicated"] == 0


async def test_accuracy_latency_and_counts_add_up(world):
    inbox = SqlInbox(world.database)
    reports = [
        window(labelled=4, correct=3, phase="own", counts={"a": 6, "b": 4}),
        window(labelled=4, correct=1, phase="shifted", counts={"a": 1}, low=3.0, high=4.0),
        window(release="activity-2", latency_ms=b"nonsense"),
    ]
    inbox.store([Arrival("watch-1", batch(*reports))], at=1.0)
    async with world.client() as client:
        summary = (await client.get("/telemetry/summary")).json()
    assert [(p["phase"], p["labelled"], p["correct"]) for p in summary["accuracy"]] == [
        ("own", 4, 3),
        ("shifted", 4, 1),
    ]
    first, second = summary["inference"]
    assert (first["processed"], first["labelled"], first["correct"]) == (20, 8, 4)
    assert first["counts"] == {"a": 7, "b": 4}
    assert first["p50_ms"] == pytest.approx(2.5, abs=0.6)
    assert first["p99_ms"] == pytest.approx(4.0, abs=0.05)
    assert second["p50_ms"] is None  # a broken sketch leaves the counts standing
    assert summary["latency"]["activity"]["p99_ms"] == pytest.approx(4.0, abs=0.05)


async def test_drops_add_up_by_reason(world):
    reports = [
        window(received=16, dropped=6, dropped_by={"late": 4, "still": 2}),
        window(received=12, dropped=2, dropped_by={"late": 1, "broken": 1}),
        window(dropped=3),  # of an agent from before there were reasons
    ]
    SqlInbox(world.database).store([Arrival("watch-1", batch(*reports))], at=1.0)
    async with world.client() as client:
        (view,) = (await client.get("/telemetry/summary")).json()["inference"]
    assert (view["received"], view["dropped"]) == (28, 11)
    assert view["dropped_by"] == {"late": 5, "still": 2, "broken": 1}


async def test_stalls_of_a_source_are_on_the_timeline(world):
    noticed = Stall(reason="silent", since=100.0, noticed=105.5, text="no packet came")
    stalls = [noticed, replace(noticed, until=142.0)]
    SqlInbox(world.database).store([Arrival("watch-1", batch(*(window(stalls=[each]) for each in stalls)))], at=7.0)
    async with world.client() as client:
        begun, over = (await client.get("/events")).json()
    assert (begun["kind"], over["kind"]) == ("input.stalled", "input.back")
    assert begun["text"] == "watch-1: wrist is silent for 5.5 s (no packet came)"
    assert over["text"] == "watch-1: wrist was silent for 42.0 s (no packet came)"
    assert (over["data"]["pipeline"], over["data"]["seconds"], over["data"]["until"]) == ("wrist", 42.0, 142.0)


async def test_changes_of_pace_are_on_the_timeline(world):
    paces = [Pace(at=5.0, share=0.125, reason="heat"), Pace(at=6.0, share=1.0)]
    SqlInbox(world.database).store([Arrival("watch-1", batch(window(paces=paces)))], at=7.0)
    async with world.client() as client:
        spared, back = (await client.get("/events")).json()
    assert spared["kind"] == back["kind"] == "input.paced"
    assert spared["text"] == "watch-1: wrist works on 0.125 of its frames (heat)"
    assert back["text"] == "watch-1: wrist works on 1 of its frames"
    assert (spared["data"]["pipeline"], spared["data"]["reason"], spared["data"]["share"]) == ("wrist", "heat", 0.125)


async def test_a_flood_of_stalls_makes_few_events(world):
    stalls = [Stall(reason="silent", since=float(number), noticed=number + 1.0) for number in range(1000)]
    SqlInbox(world.database).store([Arrival("watch-1", batch(window(stalls=stalls)))], at=7.0)
    async with world.client() as client:
        assert len((await client.get("/events", params={"limit": 1000})).json()) == 64


async def test_steps_of_an_update_are_on_the_timeline_once(world):
    inbox = SqlInbox(world.database)
    steps = [Stage.OFFERED, Stage.DOWNLOADING, Stage.DOWNLOADING, Stage.REFUSED]
    bodies = [UpdateStatus(model="m", release="m-2", stage=step, reason="trust: no", received=5) for step in steps]
    inbox.store([Arrival("watch-1", batch(*bodies, channel=Up.UPDATE))], at=7.0)
    async with world.client() as client:
        told = (await client.get("/events")).json()
        assert [event["kind"] for event in told] == ["update.offered", "update.downloading", "update.refused"]
        assert told[-1]["data"]["reason"] == "trust: no"
        assert told[-1]["at"] == 7.0
        later = (await client.get("/events", params={"after": told[0]["id"], "limit": 1})).json()
        assert [event["id"] for event in later] == [told[1]["id"]]


@pytest.mark.parametrize("query", [{"limit": 0}, {"limit": 10**6}, {"after": "x"}])
async def test_questions_that_are_none_are_refused(world, query):
    async with world.client() as client:
        answer = await client.get("/events", params=query)
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")


async def test_drift_scores_come_in_order(world):
    with world.database.write() as connection:
        for number, score in enumerate([0.1, 0.9]):
            DriftStore(connection).add_score(
                DriftScoreRow(
                    report=number,
                    device="watch-1",
                    model="activity",
                    release="activity-1",
                    score=score,
                    count=100,
                    feature="ch0.mean",
                    alarm=score > 0.5,
                    at=float(number),
                )
            )
    async with world.client() as client:
        drift = (await client.get("/drift")).json()
        nobody = (await client.get("/drift", params={"device": "watch-2"})).json()
    assert [(row["score"], row["alarm"]) for row in drift["scores"]] == [(0.1, False), (0.9, True)]
    assert nobody["scores"] == []


async def test_health_names_the_part_that_is_not_well(world):
    async with world.client(key="") as client:
        assert (await client.get("/health")).json()["status"] == "ok"


async def test_a_mistake_of_ours_shows_no_details(world, monkeypatch):
    def broken(*_arguments, **_names):
        raise ValueError("hlk_secret")

    monkeypatch.setattr(Events, "after", broken)
    async with world.client() as client:
        answer = await client.get("/events")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert "hlk_secret" not in answer.text
