"""From an order to a fleet that runs it; with a halt, with deaths, with drift."""

from pathlib import Path

import pytest

from cloud.audit.log import AuditLog
from cloud.loop.orders import order_rollout
from cloud.rollout.advance import RolloutState
from cloud.store.events import Events
from cloud.store.releases import Releases
from cloud.store.reports import statuses
from cloud.store.rollouts import Rollouts
from cloud.store.runs import Runs, RunState
from cloud.training.events import RunFailed
from cloud.training.ledger import RunLedger
from cloud.training.spec import read_spec
from shared.api import RolloutRequest
from shared.audit import verify
from shared.errors import RefusedError
from shared.messages import Stage

RUN = "activity-run-1"


def rollout(stations, name):
    return stations.read(lambda connection: Rollouts(connection).get(name))


def run(stations, name=RUN):
    return stations.read(lambda connection: Runs(connection).get(name))


def test_an_order_becomes_a_release_that_a_fleet_runs(stations):
    stations.order()
    stations.turn()
    assert run(stations).state is RunState.RUNNING
    assert [m.node for m in read_spec(stations.directory / "runs" / RUN).members] == [100, 101, 102]
    stations.turn()
    stations.turn()
    assert stations.jobs.started == [RUN]
    stations.play_job(RUN)
    stations.settle()
    assert (run(stations).state, run(stations).release) == (RunState.RELEASED, "activity-1")
    rounds = stations.read(lambda connection: Runs(connection).rounds(RUN))
    assert [(row.number, row.metrics["accuracy"], len(row.cohort)) for row in rounds] == [(1, 0.8, 3), (2, 0.8, 3)]
    assert rollout(stations, "activity-1-wards").state is RolloutState.OPEN
    assert stations.repository.desired("wards").devices == {"watch-2": {"activity": "activity-1"}}
    stations.bring("activity-1")
    assert rollout(stations, "activity-1-wards").state is RolloutState.DONE
    assert stations.repository.desired("wards").default == {"activity": "activity-1"}
    assert stations.repository.desired("wards").devices == {}
    row = stations.read(lambda connection: Releases(connection).get("activity-1"))
    assert row.signers == stations.repository.signers()
    assert len(row.signers) == 1
    for variant in row.document().variants:
        assert stations.blobs.has(variant.digest)
    assert stations.read(lambda connection: verify(AuditLog(connection).rows())) is None


def test_nothing_happens_twice_when_nothing_changes(stations):
    stations.release_one()
    version = stations.repository.timestamp_version
    events = stations.read(lambda connection: len(Events(connection).after(0)))
    stations.settle(5)
    assert stations.repository.timestamp_version == version
    assert stations.read(lambda connection: len(Events(connection).after(0))) == events


def test_a_canary_that_fails_halts_the_rollout_and_brings_the_old_bytes_back(stations):
    stations.release_one()
    stations.order()
    stations.settle(2)
    stations.play_job("activity-run-2")
    stations.settle()
    stations.report("watch-2", "activity-2", Stage.ROLLED_BACK, reason="crashed 3 times")
    stations.settle(3)
    halted = rollout(stations, "activity-2-wards")
    assert (halted.state, halted.reason) == (RolloutState.HALTED, "watch-2: rolled-back (crashed 3 times)")
    assert halted.fallback == "activity-3"
    wanted = stations.repository.desired("wards")
    assert wanted.for_device("watch-2") == {"activity": "activity-3"}
    assert wanted.for_device("watch-1") == {"activity": "activity-1"}
    first, third = (
        stations.read(lambda connection, name=name: Releases(connection).get(name).document())
        for name in ("activity-1", "activity-3")
    )
    assert [v.digest for v in third.variants] == [v.digest for v in first.variants]
    assert stations.read(lambda connection: len(Rollouts(connection).all())) == 2  # the fallback is no rollout


def test_a_candidate_under_the_bar_is_rejected(stations):
    stations.order()
    stations.settle(2)
    stations.play_job(RUN, admitted=())
    stations.settle()
    assert run(stations).state is RunState.REJECTED
    assert stations.read(lambda connection: Releases(connection).all()) == []


def test_a_job_that_dies_is_started_again_and_in_the_end_given_up(make_stations):
    stations = make_stations(attempts=2)
    stations.order()
    for _ in range(6):
        stations.turn()
        stations.jobs.alive.clear()
    assert stations.jobs.started == [RUN, RUN]
    assert run(stations).state is RunState.FAILED
    assert "gave up after 2 attempts" in run(stations).reason


def test_a_failure_that_another_attempt_cannot_mend_ends_the_run(stations):
    stations.order()
    stations.settle(2)
    ledger = RunLedger(stations.directory / "runs" / RUN)
    ledger.append(RunFailed(at=1.0, reason="no such task", hint="", retry=False))
    stations.jobs.alive.clear()
    stations.settle(3)
    assert run(stations).state is RunState.FAILED
    assert stations.jobs.started == [RUN]


def test_a_run_whose_ledger_is_broken_is_given_up(stations):
    stations.order()
    stations.settle(2)
    (stations.directory / "runs" / RUN / "events.jsonl").write_text("nonsense\n")
    stations.settle(2)
    assert run(stations).state is RunState.FAILED
    assert stations.jobs.alive == set()


def test_a_file_that_is_not_the_judged_one_is_not_released(stations):
    stations.order()
    stations.settle(2)
    stations.play_job(RUN)
    (stations.directory / "runs" / RUN / "cpu-int8.onnx").write_bytes(b"other")
    stations.settle()
    assert run(stations).state is RunState.FAILED
    assert stations.read(lambda connection: Releases(connection).all()) == []


def test_a_second_run_starts_from_the_serving_model_and_is_compared_with_it(stations):
    stations.release_one()
    stations.order(start=RUN, labels={"watch-1": 30})
    stations.turn()
    spec = read_spec(stations.directory / "runs" / "activity-run-2")
    assert spec.start == str(stations.directory / "runs" / RUN / "weights.npz")
    assert Path(spec.champion).read_bytes() == b"float " * 100
    assert {member.device: member.labels for member in spec.members} == {"watch-1": 30, "watch-2": 0, "watch-3": 0}


def test_one_run_of_a_line_at_a_time(stations):
    stations.order()
    with pytest.raises(RefusedError, match="not over yet"):
        stations.order()


STORY_TRANSACTIONS = 40
"""More than the story has; later deaths never come."""


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("at", range(1, STORY_TRANSACTIONS, 4))
def test_killed_at_any_transaction_the_story_ends_the_same(mortal, killed, stations, at, before):

    stations.order()
    doomed = mortal(at, before=before)
    dead = False
    for act in story():
        try:
            act(stations if dead else doomed)
        except killed:
            dead = True
            act(stations)  # the world does not forget; the coordinator starts anew
    assert run(stations).state is RunState.RELEASED
    assert stations.jobs.started == [RUN]
    assert [row.id for row in stations.read(lambda connection: Releases(connection).all())] == ["activity-1"]
    assert rollout(stations, "activity-1-wards").state is RolloutState.DONE
    waves = [e for e in stations.read(lambda c: Events(c).after(0)) if e.kind == "rollout.wave"]
    assert [event.data["wave"] for event in waves] == [0, 1]
    assert stations.repository.desired("wards").default == {"activity": "activity-1"}
    assert {s.serving for s in stations.read(statuses)} == {"activity-1"}
    assert stations.read(lambda connection: verify(AuditLog(connection).rows())) is None


def story():
    """Acts of the world, with the coordinator's turns between them; each may be repeated."""
    turn = [lambda s: s.turn()]
    yield from turn * 3
    yield lambda s: s.play_job(RUN)
    yield from turn * 6
    yield lambda s: s.activate("watch-2", release="activity-1")
    yield from turn * 2
    yield lambda s: s.clock.advance(6)
    yield from turn * 3
    yield lambda s: s.activate("watch-1", "watch-3", release="activity-1")
    yield from turn * 2
    yield lambda s: s.clock.advance(6)
    yield from turn * 3


def test_a_rollout_waits_for_the_signature_of_its_release(stations):
    stations.order()
    stations.settle(2)
    stations.play_job(RUN)
    stations.runs.turn()
    stations.runs.turn()
    with stations.database.write() as connection:
        request = RolloutRequest(release="activity-1", fleet="wards")
        order_rollout(connection, request, fleet="wards", at=stations.clock.now(), by="test")
    stations.rollouts.turn()
    stations.rollouts.sign()
    assert rollout(stations, "activity-1-wards").state is RolloutState.PENDING
    stations.publication.turn()
    stations.rollouts.turn()
    assert rollout(stations, "activity-1-wards").state is RolloutState.OPEN
