"""Central jobs in real processes, started by the coordinator's own keeper and killed in the middle."""

import os
import signal
import time

import numpy as np
import pytest

from cloud.central.orders import WarmOrder, WarmResult, Where, read_order, write_order
from cloud.central.warm import make_first_weights
from cloud.jobs.hold import owner
from cloud.jobs.local import coordinator_jobs
from cloud.loop.central import CentralKeeper
from cloud.loop.central_orders import order_warm_start
from cloud.loop.orders import apply_line
from cloud.store.blobs import FileBlobs
from cloud.store.database import open_database, sqlite_url
from cloud.store.jobs import CentralJobs, JobState
from cloud.store.runs import Run, Runs, RunState
from shared.clock import SystemClock
from shared.tasks.weights import unpack_weights, weights_digest

pytestmark = pytest.mark.system

EPOCHS = 120
SPEC = {"run": "activity-run-1", "task": "activity", "members": [{"device": "watch-1", "node": 1}], "seed": 7}
SPEC |= {"min_devices": 1, "warm_start": {"data": "clinic", "epochs": EPOCHS}}
LINE = {"task": "activity", "schema": {"kind": "classification", "labels": ["a"], "input_shape": [6, 100]}}


@pytest.fixture
def keeper(tmp_path):
    """A keeper over real processes, with one run that wants first weights."""
    (tmp_path / "data").mkdir()
    random = np.random.default_rng(5)
    x, y = random.normal(size=(98, 6, 100)).astype(np.float32), np.arange(98) % 7
    np.savez(tmp_path / "data" / "clinic.npz", x=x, y=y)
    database, jobs = open_database(sqlite_url(tmp_path / "db.sqlite")), coordinator_jobs(tmp_path)
    run = Run(
        id="activity-run-1", model="activity", number=1, state=RunState.WARMING, cause="operator", spec=SPEC,
        created_at=1.0,
    )  # fmt: skip
    with database.write() as connection:
        apply_line(connection, "activity", LINE, at=1.0, by="test")
        Runs(connection).add(run)
        order_warm_start(connection, run, at=1.0)
    made = CentralKeeper(
        database=database,
        blobs=FileBlobs(tmp_path / "blobs"),
        jobs=jobs,
        clock=SystemClock(),
        directory=tmp_path / "jobs",
        runs=tmp_path / "runs",
        data=tmp_path / "data",
        where=Where(device="cpu"),
        attempts=3,
    )
    yield made
    jobs.close()
    database.close()


def turn_until(keeper, what, within_s=240.0):
    deadline = time.monotonic() + within_s
    while not what():
        assert time.monotonic() < deadline
        keeper.turn()
        time.sleep(0.02)


def row(keeper):
    with keeper.database.read() as connection:
        return CentralJobs(connection).get("activity-run-1-warm")


def test_first_weights_killed_in_the_middle_are_those_of_an_undisturbed_job(keeper, tmp_path):
    place = tmp_path / "jobs" / "activity-run-1-warm"
    turn_until(keeper, lambda: list(place.glob("epoch-*.npz")))
    os.kill(owner(place), signal.SIGKILL)
    turn_until(keeper, lambda: row(keeper).state is not JobState.RUNNING)
    found = row(keeper)
    assert (found.state, found.attempts) == (JobState.DONE, 2), found.reason
    alone = tmp_path / "alone"
    write_order(alone, read_order(place, WarmOrder))
    undisturbed: WarmResult = make_first_weights(alone, clock=SystemClock())
    assert undisturbed.epochs == EPOCHS
    assert found.result["digest"] == undisturbed.digest
    assert weights_digest(unpack_weights((place / "weights.npz").read_bytes())) == undisturbed.digest
    assert undisturbed.digest.encode() in keeper.jobs.log(keeper.job(found.id, found.kind))[0]
