"""From an order to first weights and a judgement on the company's own data; jobs die, end, refuse and are cancelled."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from cloud.api.views.lineage import lineage
from cloud.audit.log import AuditLog
from cloud.central.orders import EvaluationOrder, EvaluationResult, WarmOrder, read_order
from cloud.central.warm import make_first_weights
from cloud.jobs.port import Phase, State
from cloud.loop.central_orders import cancel_job, order_evaluation
from cloud.loop.orders import apply_line
from cloud.models.gates import Tally
from cloud.models.variants import FLOAT, INT8
from cloud.store.events import Events
from cloud.store.jobs import CentralJobs, JobState
from cloud.store.runs import Runs, RunState
from cloud.training.spec import read_spec
from shared.errors import ContractError, RefusedError
from shared.jobs import EvaluationRequest
from shared.tasks.weights import read_weights, weights_digest
from tests.unit.cloud.loop.conftest import LINE

RUN, WARM, CENTRAL = "activity-run-1", "activity-run-1-warm", "activity-run-1-central"
WARMTH = {"warm_start": {"data": "clinic", "epochs": 2}}


@pytest.fixture
def clinic(stations):
    """A data set in the coordinator's data directory."""
    (stations.directory / "data").mkdir()
    random = np.random.default_rng(3)
    x, y = random.normal(size=(28, 6, 100)).astype(np.float32), np.arange(28) % 7
    np.savez(stations.directory / "data" / "clinic.npz", x=x, y=y)


def run(stations, name=RUN):
    return stations.read(lambda connection: Runs(connection).get(name))


def job(stations, name=WARM):
    return stations.read(lambda connection: CentralJobs(connection).get(name))


def work(stations, name, do):
    """What a whole job process leaves behind."""
    do(stations.directory / "jobs" / name, clock=stations.clock)
    stations.jobs.alive.discard(stations.directory / "jobs" / name)
    stations.jobs.said[name] = State(Phase.SUCCEEDED)


def die(stations, name, state=None):
    stations.jobs.alive.discard(stations.directory / "jobs" / name)
    stations.jobs.said[name] = state or State(Phase.FAILED, "ended without a word")


def judge_centrally(stations, name, *admitted):
    """What an evaluation leaves behind, without real models."""
    place = stations.directory / "jobs" / name
    counts = Tally(correct=8, examples=10, agreed=10)
    result = EvaluationResult(
        data_sha256="0" * 64, examples=10, files={FLOAT: counts}, admitted=list(admitted), summary="seen here"
    )
    (place / "result.json").write_bytes(msgspec.json.encode(result))
    die(stations, name, State(Phase.SUCCEEDED))


def test_a_run_begins_from_first_weights_of_the_companys_own_data(stations, clinic):
    stations.order(overrides=WARMTH)
    stations.settle(3)
    assert (run(stations).state, job(stations).state) == (RunState.WARMING, JobState.RUNNING)
    assert stations.jobs.started == [WARM]
    order = read_order(stations.directory / "jobs" / WARM, WarmOrder)
    assert (order.task, order.epochs, order.seed) == ("activity", 2, run(stations).spec["seed"])
    work(stations, WARM, make_first_weights)
    stations.settle(3)
    assert (run(stations).state, job(stations).state) == (RunState.RUNNING, JobState.DONE)
    with Path(read_spec(stations.directory / "runs" / RUN).start).open("rb") as file:
        assert weights_digest(read_weights(file)) == job(stations).result["digest"]
    stations.play_job(RUN)
    stations.settle()
    stations.bring("activity-1")
    (model,) = stations.read(lambda connection: lineage(connection, "watch-1")).models
    (named,) = model.jobs
    assert (named.id, named.kind, named.order["data"]) == (WARM, "warm-start", "clinic")
    assert named.result["data_sha256"] == job(stations).result["data_sha256"]


def test_a_line_warms_up_every_fresh_run_and_none_that_goes_on(stations, clinic):
    with stations.database.write() as connection:
        apply_line(connection, "activity", LINE | {"training": WARMTH}, at=1.0, by="test")
    stations.order()
    stations.settle(3)
    work(stations, WARM, make_first_weights)
    stations.settle(2)
    stations.play_job(RUN)
    stations.settle()
    stations.order(start=RUN)
    stations.settle(3)
    second = run(stations, "activity-run-2")
    assert (second.state, second.spec["warm_start"]) == (RunState.RUNNING, None)
    named = stations.read(lambda c: lineage(c, "watch-2")).models
    assert all(found.id == WARM for model in named for found in model.jobs)


def test_to_go_on_and_to_warm_up_exclude_each_other(stations, clinic):
    stations.order()
    stations.settle(2)
    stations.play_job(RUN)
    stations.settle()
    with pytest.raises(RefusedError, match="not both"):
        stations.order(start=RUN, overrides=WARMTH)
    with pytest.raises(ContractError):
        stations.order(overrides={"warm_start": {"data": "../secret"}})


def test_a_job_that_dies_is_started_again_and_given_up_in_the_end(stations, clinic):
    stations.order(overrides=WARMTH)
    for _ in range(8):
        stations.settle(2)
        die(stations, WARM)
    stations.settle(3)
    assert stations.jobs.started == [WARM] * 3
    assert job(stations).state is JobState.FAILED
    assert run(stations).state is RunState.FAILED
    assert "no first weights" in run(stations).reason


def test_a_job_that_refuses_is_not_asked_again(stations):
    stations.order(overrides=WARMTH)
    stations.settle(3)
    die(stations, WARM, State(Phase.FAILED, "there is no data set. Bring it.", final=True))
    stations.settle(3)
    assert stations.jobs.started == [WARM]
    assert "there is no data set" in run(stations).reason


def test_a_cancelled_job_ends_its_process_and_the_run_that_waits(stations, clinic):
    stations.order(overrides=WARMTH)
    stations.settle(3)
    with stations.database.write() as connection:
        cancel_job(connection, WARM, at=5.0, by="operator:ann", reason="wrong data")
    stations.settle(3)
    assert stations.jobs.alive == set()
    assert (job(stations).state, run(stations).state) == (JobState.CANCELLED, RunState.FAILED)
    with stations.database.write() as connection, pytest.raises(RefusedError, match="cancelled already"):
        cancel_job(connection, WARM, at=6.0, by="operator:ann", reason="")
    row = next(r for r in stations.read(lambda c: AuditLog(c).rows()) if r.action == "job.cancel")
    assert (row.actor, row.reason, row.before["state"]) == ("operator:ann", "wrong data", "running")


def test_first_weights_that_are_others_than_were_told_begin_no_run(stations, clinic):
    stations.order(overrides=WARMTH)
    stations.settle(3)
    work(stations, WARM, make_first_weights)
    stations.central.turn()
    other = stations.directory / "jobs" / "other"
    other.mkdir()
    (other / "order.json").write_bytes(
        msgspec.json.encode(msgspec.structs.replace(read_order(other.parent / WARM, WarmOrder), seed=99))
    )
    make_first_weights(other, clock=stations.clock)
    (other.parent / WARM / "weights.npz").write_bytes((other / "weights.npz").read_bytes())
    stations.settle(2)
    assert run(stations).state is RunState.FAILED
    assert "its job made" in run(stations).reason


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("at", range(1, 7))
def test_wherever_the_coordinator_dies_the_run_is_warmed_up_once(stations, mortal, killed, clinic, at, before):
    stations.order(overrides=WARMTH)
    dying = mortal(at, before=before)
    try:
        dying.settle(3)
        work(dying, WARM, make_first_weights)
        dying.settle(3)
    except killed:
        pass
    stations.settle(3)
    if job(stations).state is not JobState.DONE:
        work(stations, WARM, make_first_weights)
    stations.settle(3)
    assert run(stations).state is RunState.RUNNING
    rows = [row.action for row in stations.read(lambda c: AuditLog(c).rows()) if row.subject in (WARM, RUN)]
    assert rows == ["run.create", "job.create", "run.warming", "run.running"]


def central(stations, decides):
    with stations.database.write() as connection:
        document = LINE | {"central": {"data": "clinic", "decides": decides}}
        apply_line(connection, "activity", document, at=1.0, by="test")
    stations.order()
    stations.settle(2)


@pytest.mark.parametrize(
    ("decides", "devices", "here", "released"),
    [
        ("also", (FLOAT, INT8), (FLOAT,), [FLOAT]),
        ("also", (INT8,), (FLOAT,), []),
        ("also", (FLOAT,), (), []),
        ("alone", (), (FLOAT,), [FLOAT]),
        ("alone", (FLOAT, INT8), (), []),
    ],
)
def test_the_companys_judgement_counts_as_the_line_says(stations, clinic, decides, devices, here, released):
    central(stations, decides)
    stations.play_job(RUN, admitted=devices)
    stations.settle(3)
    assert run(stations).state is RunState.JUDGED
    assert stations.jobs.started[-1] == CENTRAL
    judge_centrally(stations, CENTRAL, *here)
    stations.settle(4)
    assert run(stations).state is (RunState.RELEASED if released else RunState.REJECTED)
    rows = stations.read(lambda c: [r.after for r in AuditLog(c).rows() if r.action == "release.create"])
    assert [sorted(row["variants"]) for row in rows] == ([released] if released else [])


def test_without_a_word_in_the_line_the_judgement_is_only_told(stations, clinic):
    central(stations, "nothing")
    stations.play_job(RUN)
    stations.settle(4)
    assert run(stations).state is RunState.RELEASED
    judge_centrally(stations, CENTRAL)
    stations.bring("activity-1")
    (model,) = stations.read(lambda connection: lineage(connection, "watch-1")).models
    assert [(found.id, found.state, found.result["admitted"]) for found in model.jobs] == [(CENTRAL, "done", [])]


def test_a_judgement_that_was_asked_for_and_did_not_come_releases_nothing(stations, clinic):
    central(stations, "also")
    stations.play_job(RUN)
    stations.settle(3)
    die(stations, CENTRAL, State(Phase.FAILED, "there is no data set", final=True))
    stations.settle(3)
    assert run(stations).state is RunState.REJECTED
    texts = [e.text for e in stations.read(lambda c: Events(c).after(0)) if e.kind == "run.judged"]
    assert any("there is no data set" in text for text in texts)


def order(stations, **request):
    with stations.database.write() as connection:
        request = EvaluationRequest(data="clinic", reason="audit", **request)
        return order_evaluation(connection, request, at=9.0, by="operator:ann")


def test_a_release_and_a_candidate_are_held_against_a_data_set_on_demand(stations, clinic):
    stations.release_one()
    first, second = order(stations, release="activity-1"), order(stations, run=RUN)
    again = order(stations, release="activity-1")
    assert [one.id for one in (first, second, again)] == [
        "activity-1-evaluation-1", f"{RUN}-evaluation-1", "activity-1-evaluation-2",
    ]  # fmt: skip
    stations.settle(2)
    of_release, of_run = (read_order(stations.directory / "jobs" / one.id, EvaluationOrder) for one in (first, second))
    for told in (of_release, of_run):
        assert (sorted(told.files), told.baseline, told.classes) == ([FLOAT, INT8], FLOAT, 2)
        assert all(Path(file.path).is_file() for file in told.files.values())
    assert (of_release.weights, bool(of_run.weights), of_run.champion) == ("", True, "")
    judge_centrally(stations, first.id, FLOAT)
    judge_centrally(stations, second.id, FLOAT)
    stations.settle(2)
    assert job(stations, first.id).result["summary"] == "seen here"
    (model,) = stations.read(lambda connection: lineage(connection, "watch-1")).models
    assert [found.id for found in model.jobs] == [first.id, again.id, second.id]


def test_what_cannot_be_evaluated_is_refused(stations):
    with pytest.raises(RefusedError, match="one thing"):
        order(stations)
    with pytest.raises(RefusedError, match="no release"):
        order(stations, release="activity-9")
    stations.order()
    with pytest.raises(RefusedError, match="no candidate"):
        order(stations, run=RUN)
