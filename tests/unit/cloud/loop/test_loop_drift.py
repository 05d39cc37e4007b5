"""From sketches to an alarm to a run, and the whole line behind what a device runs."""

import numpy as np
import pytest

from cloud.api.views.drift import drift_view
from cloud.api.views.lineage import lineage
from cloud.loop.orders import apply_line
from cloud.store.events import Events
from cloud.store.runs import Runs
from shared.messages import DriftReport, Stage, Telemetry
from shared.sketch import Sketch
from shared.topics import Up

RETRAIN = {"labels": 20, "devices": 1, "patience_s": 30.0, "cooldown_s": 60.0, "rounds": 4}


def sketches(rng, shift=0.0, count=120, reference=False):
    return DriftReport(
        pipeline="wrist",
        model="activity",
        release="activity-1",
        since=0.0,
        until=1.0,
        count=count,
        features={f"ch{n}.mean": Sketch(rng.normal(shift, 1.0, count)).to_bytes() for n in range(6)},
        confidence=Sketch(rng.uniform(0.8, 1.0, count)).to_bytes(),
        classes={"a": count},
        reference=reference,
    )


def held(labels):
    return Telemetry(
        pipeline="wrist",
        model="activity",
        release="activity-1",
        since=0.0,
        until=1.0,
        processed=50,
        errors=0,
        labelled=10,
        correct=9,
        labels_held=labels,
        latency_ms=Sketch([1.0, 2.0, 3.0]).to_bytes(),
    )


@pytest.fixture
def serving(stations, line):
    """Three devices on activity-1, watched since its references came."""
    with stations.database.write() as connection:
        apply_line(connection, "activity", line | {"retrain": RETRAIN}, at=1.0, by="test")
    stations.release_one()
    rng = np.random.default_rng(0)
    for device in ("watch-1", "watch-2", "watch-3"):
        stations.say(device, Up.DRIFT, sketches(rng, count=2000, reference=True))
    stations.clock.advance(100)
    return stations


def shift(stations, device, windows=2):
    rng = np.random.default_rng(1)
    for _ in range(windows):
        stations.say(device, Up.DRIFT, sketches(rng, shift=2.0))
    stations.settle(2)


def alarms(stations):
    return stations.read(drift_view).alarms


def runs(stations):
    return stations.read(lambda connection: Runs(connection).all())


def test_inputs_as_usual_raise_nothing(serving):
    rng = np.random.default_rng(2)
    for _ in range(5):
        serving.say("watch-1", Up.DRIFT, sketches(rng))
    serving.settle(2)
    view = serving.read(drift_view)
    assert view.alarms == {}
    assert len(view.scores) == 5
    assert max(score.score for score in view.scores) < view.thresholds["activity"]


def test_an_alarm_waits_for_labels_and_then_orders_a_run_from_the_serving_model(serving):
    shift(serving, "watch-3")
    assert alarms(serving) == {"activity": ["watch-3"]}
    told = [event for event in serving.read(lambda c: Events(c).after(0)) if event.kind == "drift.alarm"]
    assert [event.data["device"] for event in told] == ["watch-3"]
    assert len(runs(serving)) == 1
    serving.say("watch-3", Up.TELEMETRY, held(25))
    serving.settle(1)
    run = runs(serving)[-1]
    assert (run.id, run.cause, run.reason) == ("activity-run-2", "drift", "watch-3 drifted and hold labels")
    assert run.spec["start"] == "activity-run-1"
    assert run.spec["rounds"] == 4
    assert {m["device"]: m["labels"] for m in run.spec["members"]} == {"watch-1": 0, "watch-2": 0, "watch-3": 25}
    serving.settle(5)
    assert len(runs(serving)) == 2


def test_a_report_is_judged_once_even_if_the_coordinator_dies_between(serving, mortal, killed):
    rng = np.random.default_rng(1)
    serving.say("watch-3", Up.DRIFT, sketches(rng, shift=2.0))
    doomed = mortal(1, before=True)
    with pytest.raises(killed):
        doomed.drift.turn()
    serving.settle(3)
    assert len(serving.read(drift_view).scores) == 1


def test_a_device_that_trained_is_judged_by_its_own_data_alone(stations, line):
    stations.release_one()
    stations.activate("gate-7", release="activity-1")
    rng = np.random.default_rng(3)
    for device in ("watch-1", "watch-2"):
        stations.say(device, Up.DRIFT, sketches(rng, count=2000, reference=True))
    for device in ("watch-3", "gate-7"):  # the one trained with them, the other only infers
        for _ in range(2):
            stations.say(device, Up.DRIFT, sketches(rng, shift=2.0))
    stations.settle(2)
    assert alarms(stations) == {"activity": ["gate-7"]}
    stations.say("watch-3", Up.DRIFT, sketches(rng, shift=2.0, count=2000, reference=True))
    stations.say("watch-3", Up.DRIFT, sketches(rng, shift=2.0))
    stations.settle(2)
    scores = [score.score for score in stations.read(drift_view).scores if score.device == "watch-3"]
    assert len(scores) == 1
    assert scores[0] < 0.45


def test_a_broken_report_holds_nobody_up(serving):
    rng = np.random.default_rng(1)
    broken = DriftReport(
        pipeline="wrist",
        model="activity",
        release="activity-1",
        since=0.0,
        until=1.0,
        count=3,
        features={"x": b"nonsense"},
        confidence=b"",
        classes={},
    )
    serving.say("watch-1", Up.DRIFT, broken)
    serving.say("watch-1", Up.DRIFT, sketches(rng))
    serving.settle(1)
    assert len(serving.read(drift_view).scores) == 1


def test_one_answer_says_why_a_device_runs_what_it_runs(serving):
    serving.say("watch-1", Up.TELEMETRY, held(0))
    shift(serving, "watch-1")
    (model,) = serving.read(lambda connection: lineage(connection, "watch-1")).models
    assert (model.status.desired, model.status.serving, model.status.stage) == ("activity-1",) * 2 + (Stage.ACTIVE,)
    assert model.release.signers == serving.repository.signers()
    assert model.release.evaluation["accuracy.training"] == 0.8
    assert model.variant.precision == "int8"
    assert (model.run.id, len(model.run.rounds)) == ("activity-run-1", 2)
    assert model.cohort == ["watch-1", "watch-2", "watch-3"]
    assert (model.rollout, model.wave, model.rollout_state) == ("activity-1-wards", 1, "done")
    assert model.release.published_at <= model.offered_at <= model.active_at
    assert (model.live.processed, model.live.accuracy) == (50, 0.9)
    assert model.live.p99_ms == 3.0
    assert model.live.drift > 0.45


def test_a_device_that_runs_nothing_yet_says_so(stations):
    assert stations.read(lambda connection: lineage(connection, "watch-1")).models == []
