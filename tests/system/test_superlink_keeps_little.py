"""What a SuperLink keeps of a run's rounds: nothing that grows with them, and nothing after the run."""

import subprocess
import time

import pytest

from cloud.training.events import RoundStarted
from cloud.training.ledger import RunLedger
from tests.benchmarks.deployed_memory import Deployed

pytestmark = pytest.mark.system

SIZE = 500_000
MODEL = 4 * SIZE


@pytest.fixture
def deployed(tmp_path):
    with Deployed(tmp_path, clients=4) as deployed:
        yield deployed


def wait_until(holds, limit_s=60.0):
    deadline = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_database_does_not_grow_with_rounds_and_a_killed_job_leaves_nothing(deployed):
    """Half of each cohort comes too late for its quorum, and nobody ever fetches its updates."""
    found = deployed.play(SIZE, rounds=6, quorum=0.5)
    assert found.late >= 6
    assert found.database[-1] <= found.database[1] + 4 * MODEL  # without pruning: two models more each round
    deployed.control.stop_run(deployed.flower_run)
    assert deployed.objects() == 0

    run = deployed.control.start_run()
    ledger = RunLedger(deployed.place / "run")
    before = sum(isinstance(event, RoundStarted) for event in ledger.events())
    job = subprocess.Popen(deployed.job(SIZE, rounds=50), stdout=subprocess.DEVNULL)
    try:
        wait_until(lambda: sum(isinstance(event, RoundStarted) for event in ledger.events()) > before + 2)
        wait_until(lambda: deployed.objects() > 0)
    finally:
        job.kill()
        job.wait()
    assert deployed.control.stop_run(run)
    wait_until(lambda: deployed.objects() == 0)


def test_a_job_holds_two_models_and_a_half_over_a_superlink(deployed):
    model = 40 << 20
    assert deployed.play(model // 4, strategy="fedavg").growth < 2.5 * model


def test_closing_a_run_twice_is_no_fault(deployed):
    assert deployed.control.stop_run(deployed.flower_run)
    assert not deployed.control.stop_run(deployed.flower_run)
