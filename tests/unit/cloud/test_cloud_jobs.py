"""A run has at most one job, whoever started it, and a dead job is seen to be dead."""

import os
import signal
import subprocess
import sys
import time

import pytest

from cloud.jobs import LocalJobs, hold, locked
from shared.errors import FaultError, RefusedError

SLEEPER = """
import sys, time
from pathlib import Path
from cloud.jobs import hold
with hold(Path(sys.argv[1])):
    print("holding", flush=True)
    time.sleep(600)
"""


def until(what, within_s=120.0):
    deadline = time.monotonic() + within_s
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def jobs():
    made = LocalJobs([sys.executable, "-c", SLEEPER], env=dict(os.environ))
    yield made
    made.close()


def test_a_job_is_started_once_and_stopped(jobs, tmp_path):
    jobs.start(tmp_path)
    until(lambda: locked(tmp_path))
    pid = int((tmp_path / "process.lock").read_text())
    jobs.start(tmp_path)
    assert jobs.running(tmp_path)
    assert int((tmp_path / "process.lock").read_text()) == pid
    jobs.stop(tmp_path)
    assert not jobs.running(tmp_path)
    assert b"holding" in (tmp_path / "job.log").read_bytes()


def test_a_job_of_a_predecessor_is_left_to_its_work(jobs, tmp_path):
    orphan = subprocess.Popen([sys.executable, "-c", SLEEPER, str(tmp_path)], stdout=subprocess.DEVNULL)
    try:
        until(lambda: locked(tmp_path))
        jobs.start(tmp_path)
        assert jobs.running(tmp_path)
        assert int((tmp_path / "process.lock").read_text()) == orphan.pid
        jobs.stop(tmp_path)
        assert orphan.wait(10) == -signal.SIGTERM
    finally:
        orphan.kill()
        orphan.wait()


def test_a_killed_job_leaves_no_lock(jobs, tmp_path):
    jobs.start(tmp_path)
    until(lambda: locked(tmp_path))
    os.kill(int((tmp_path / "process.lock").read_text()), signal.SIGKILL)
    until(lambda: not jobs.running(tmp_path))
    jobs.start(tmp_path)
    until(lambda: locked(tmp_path))


def test_two_holders_at_once_cannot_be(tmp_path):
    with hold(tmp_path), pytest.raises(RefusedError, match="another job"), hold(tmp_path):
        pass
    with hold(tmp_path):
        assert locked(tmp_path)
    assert not locked(tmp_path)


def test_no_run_no_job(tmp_path, jobs):
    with pytest.raises(FaultError), hold(tmp_path / "none"):
        pass
    with pytest.raises(FaultError):
        LocalJobs(["/nowhere/python"], env={}).start(tmp_path)
