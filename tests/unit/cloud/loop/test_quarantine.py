"""Strikes over runs: counted once, left out, released by an operator, in the log and on the timeline."""

import pytest

from cloud.audit.log import AuditLog
from cloud.loop.follow import take_events
from cloud.loop.quarantine import release
from cloud.store.events import Events
from cloud.store.quarantine import Quarantine
from cloud.store.runs import Runs
from cloud.training.events import Cause, UpdateRefused
from shared.errors import RefusedError


def refused(device, round_, cause=Cause.GATE):
    return UpdateRefused(
        at=1.0, round=round_, device=device, reason="holds a NaN", cause=cause, check="finite", measured="not finite"
    )


def tell(stations, run, *events):
    with stations.database.write() as connection:
        take_events(connection, Runs(connection).get(run), events, offset=0)


def fail(stations, run):
    with stations.database.write() as connection:
        Runs(connection).change(run, state="failed")


def held(stations):
    return [each.device for each in stations.read(lambda connection: Quarantine(connection).all())]


def test_three_strikes_over_two_runs_leave_a_device_out_until_it_is_released(stations):
    run = stations.order()
    tell(stations, run.id, refused("watch-1", 1), refused("watch-1", 2), refused("watch-1", 2))
    tell(stations, run.id, *(refused("watch-2", number, Cause.SILENT) for number in range(1, 9)))
    tell(stations, run.id, *(refused("watch-3", number, Cause.VETOED) for number in range(1, 9)))
    assert held(stations) == []
    fail(stations, run.id)
    second = stations.order()
    assert {member["device"]: member["strikes"] for member in second.spec["members"]} == {
        "watch-1": 2, "watch-2": 0, "watch-3": 0,
    }  # fmt: skip
    tell(stations, second.id, refused("watch-1", 1), refused("watch-1", 1))
    assert held(stations) == ["watch-1"]
    fail(stations, second.id)
    third = stations.order()
    assert [member["device"] for member in third.spec["members"]] == ["watch-2", "watch-3"]
    fail(stations, third.id)
    with stations.database.write() as connection, pytest.raises(RefusedError, match="reason"):
        release(connection, "watch-1", at=9.0, by="operator:ann", reason=" ")
    with stations.database.write() as connection:
        release(connection, "watch-1", at=9.0, by="operator:ann", reason="new sensor")
    tell(stations, second.id, refused("watch-1", 1))  # told again: forgiven stays forgiven
    assert held(stations) == []
    assert len(stations.order().spec["members"]) == 3
    kinds = [(e.kind, e.subject) for e in stations.read(lambda c: Events(c).after(0))]
    assert ("device.quarantined", "watch-1") in kinds
    assert ("device.released", "watch-1") in kinds
    assert ("run.vetoed", run.id) in kinds
    actions = {row.action: row.reason for row in stations.read(lambda c: AuditLog(c).rows())}
    assert actions["device.quarantine"] == "holds a NaN"
    assert actions["device.release"] == "new sensor"


def test_an_order_that_has_too_few_left_says_who_is_out_and_what_to_do(stations):
    run = stations.order()
    for device in ("watch-1", "watch-2"):
        tell(stations, run.id, *(refused(device, number) for number in (1, 2, 3)))
    fail(stations, run.id)
    with pytest.raises(RefusedError, match="watch-1, watch-2 quarantined") as caught:
        stations.order()
    assert "hinterland quarantine release" in caught.value.hint


def test_who_has_done_nothing_cannot_be_released(stations):
    with stations.database.write() as connection, pytest.raises(RefusedError, match="nothing is held"):
        release(connection, "watch-1", at=9.0, by="operator:ann", reason="so")
