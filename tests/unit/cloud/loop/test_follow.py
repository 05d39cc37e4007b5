"""What a ledger says of the clients of a round, however often and wherever the reading is cut off."""

import pytest

from cloud.api.views.runs import progress_view, run_view
from cloud.loop.follow import take_events
from cloud.store.database import open_database, sqlite_url
from cloud.store.runs import Run, Runs, RunState
from cloud.training.events import (
    DeviceScore,
    RoundFinished,
    RoundStarted,
    UpdateAccepted,
    UpdateLate,
    UpdateRefused,
)

EVENTS = [
    RoundStarted(at=1.0, round=1, cohort=["a", "b", "c"], wanted=1, excluded={"d": "it is 90 °C hot"}),
    UpdateRefused(at=2.0, round=1, device="b", reason="w holds a value that is not finite"),
    UpdateAccepted(at=3.0, round=1, device="a", examples=9, loss=0.2),
    UpdateLate(at=3.5, round=1, device="c"),
    RoundFinished(
        at=4.0,
        round=1,
        train_loss=0.2,
        loss=0.3,
        accuracy=0.9,
        devices={"a": DeviceScore(examples=4, correct=3, loss_sum=1.0)},
        accepted=1,
        refused=1,
        late=1,
        digest="d" * 64,
        seconds=3.0,
    ),
    RoundStarted(at=5.0, round=2, cohort=["a", "b"]),
]


@pytest.fixture
def connection(tmp_path):
    opened = open_database(sqlite_url(tmp_path / "state.db"))
    with opened.write() as connection:
        Runs(connection).add(
            Run(id="m-run-1", model="m", number=1, state=RunState.RUNNING, cause="operator", created_at=0.0)
        )
        yield connection
    opened.close()


@pytest.mark.parametrize("cut", range(len(EVENTS) + 1))
def test_progress_is_stored_event_by_event(connection, cut):
    run = Runs(connection).get("m-run-1")
    for part in (EVENTS[:cut], EVENTS[cut:]):
        take_events(connection, run, part, offset=1)
    first, second = progress_view(connection, run, since=0)
    assert first.finished
    assert {device: client.state for device, client in first.clients.items()} == {
        "a": "uploaded",
        "b": "failed",
        "c": "late",
    }
    assert first.clients["b"].reason == "w holds a value that is not finite"
    assert first.excluded == {"d": "it is 90 °C hot"}
    assert (second.round, second.finished) == (2, False)
    assert {client.state for client in second.clients.values()} == {"training"}
    assert [row.number for row in run_view(connection, run).rounds] == [1]
    assert [one.round for one in progress_view(connection, run, since=2)] == [2]
