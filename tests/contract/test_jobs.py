"""What every place where jobs run must keep: one suite, and a row in `PLACES` for each implementation of the port.

The work is a program that holds its directory as our own jobs do and then does what `order.txt` there says.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cloud.jobs.hold import hold, locked, owner, read_end
from cloud.jobs.local import LocalJobs
from cloud.jobs.port import Job, Jobs, Kind, Phase, follow, read_log
from shared.errors import FaultError, RefusedError

WORK = """
import sys, time
from pathlib import Path
from cloud.jobs.hold import hold
from shared.errors import RefusedError, TransportError
place = Path(sys.argv[1])
with hold(place) as end:
    print("began", flush=True)
    order = (place / "order.txt").read_text()
    while order == "wait" and not (place / "go").exists():
        time.sleep(0.02)
    if order == "refuse":
        raise RefusedError("no such data", hint="Bring it.")
    if order == "retry":
        raise TransportError("nobody answers")
    if order == "say":
        end.reason = "built nothing"
    print("ended", flush=True)
"""


def local() -> LocalJobs:
    return LocalJobs({Kind.EVALUATION: [sys.executable, "-c", WORK]}, env=dict(os.environ))


PLACES: dict[str, Callable[[], Any]] = {"children": local}
"""Each makes one implementation, and made again stands for the same place after a restart of ours."""


@pytest.fixture(params=sorted(PLACES))
def place(request: pytest.FixtureRequest) -> Callable[[], Jobs]:
    return PLACES[request.param]


@pytest.fixture
def jobs(place: Callable[[], Jobs]) -> Iterator[Jobs]:
    made = place()
    yield made
    made.close()


@pytest.fixture
def job(tmp_path: Path) -> Callable[[str], Job]:
    def make(order: str, name: str = "activity-1-evaluation-1") -> Job:
        directory = tmp_path / name
        directory.mkdir(exist_ok=True)
        (directory / "order.txt").write_text(order)
        return Job(kind=Kind.EVALUATION, directory=directory)

    return make


def until(what: Callable[[], object], within_s: float = 120.0) -> None:
    deadline = time.monotonic() + within_s
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def ended(jobs: Jobs, job: Job) -> None:
    until(lambda: jobs.state(job).phase is not Phase.RUNNING)


def began(jobs: Jobs, job: Job) -> None:
    until(lambda: jobs.log(job)[0])


def test_a_job_that_nobody_handed_in_is_not_there(jobs, job):
    assert jobs.state(job("wait")).phase is Phase.ABSENT
    assert jobs.log(job("wait")) == (b"", 0)
    jobs.cancel(job("wait"))


def test_a_job_runs_once_however_often_it_is_handed_in(jobs, job):
    work = job("wait")
    jobs.submit(work)
    began(jobs, work)
    jobs.submit(work)
    jobs.submit(work)
    assert jobs.state(work).phase is Phase.RUNNING
    (work.directory / "go").touch()
    ended(jobs, work)
    assert jobs.state(work) == (Phase.SUCCEEDED, "", False)
    assert jobs.log(work)[0].decode().split() == ["began", "ended"]


@pytest.mark.parametrize(
    ("order", "says", "final"),
    [("refuse", "no such data Bring it.", True), ("retry", "nobody answers", False), ("say", "built nothing", False)],
)
def test_a_job_that_fails_says_why_and_whether_to_try_again(jobs, job, order, says, final):
    work = job(order)
    jobs.submit(work)
    ended(jobs, work)
    assert jobs.state(work) == (Phase.FAILED, says, final)


def test_what_a_job_says_is_followed_to_its_last_word(jobs, job):
    work = job("wait")
    jobs.submit(work)
    began(jobs, work)
    heard = b""
    for piece in follow(jobs, work, pause=(work.directory / "go").touch):
        heard += piece
    assert heard.decode().split() == ["began", "ended"]
    assert read_log(jobs, work, since=len(heard)) == (b"", len(heard), True)


def test_a_cancelled_job_ends_and_can_begin_anew(jobs, job):
    work = job("wait")
    jobs.submit(work)
    began(jobs, work)
    jobs.cancel(work)
    ended(jobs, work)
    assert jobs.state(work).phase is Phase.FAILED
    (work.directory / "go").touch()
    jobs.submit(work)
    ended(jobs, work)
    assert jobs.state(work).phase is Phase.SUCCEEDED


def test_a_killed_job_has_failed_and_is_worth_another_try(jobs, job):
    work = job("wait")
    jobs.submit(work)
    began(jobs, work)
    os.kill(owner(work.directory), signal.SIGKILL)
    ended(jobs, work)
    assert (jobs.state(work).phase, jobs.state(work).final) == (Phase.FAILED, False)
    (work.directory / "go").touch()
    jobs.submit(work)
    ended(jobs, work)
    assert jobs.state(work).phase is Phase.SUCCEEDED


def test_a_successor_knows_how_a_job_ended(jobs, job, place):
    good, bad = job("go", "good"), job("refuse", "bad")
    for work in (good, bad):
        jobs.submit(work)
        ended(jobs, work)
    successor = place()
    assert successor.state(good).phase is Phase.SUCCEEDED
    assert successor.state(bad).final


def test_a_job_of_a_predecessor_is_left_to_its_work(jobs, job):
    work = job("wait")
    orphan = subprocess.Popen([sys.executable, "-c", WORK, str(work.directory)], stdout=subprocess.DEVNULL)
    try:
        until(lambda: locked(work.directory))
        until(lambda: owner(work.directory) == orphan.pid)
        jobs.submit(work)
        assert jobs.state(work).phase is Phase.RUNNING
        assert owner(work.directory) == orphan.pid
        jobs.cancel(work)
        assert orphan.wait(60) == -signal.SIGTERM
    finally:
        orphan.kill()
        orphan.wait()


def test_an_earlier_end_says_nothing_of_a_later_process_that_was_killed(jobs, job):
    work = job("go")
    jobs.submit(work)
    ended(jobs, work)
    (work.directory / "order.txt").write_text("wait")
    by_hand = subprocess.Popen([sys.executable, "-c", WORK, str(work.directory)], stdout=subprocess.DEVNULL)
    try:
        until(lambda: owner(work.directory) == by_hand.pid and read_end(work.directory) is None)
    finally:
        by_hand.kill()
        by_hand.wait()
    assert (jobs.state(work).phase, jobs.state(work).final) == (Phase.FAILED, False)


def test_closing_leaves_no_child(jobs, job):
    work = job("wait")
    jobs.submit(work)
    began(jobs, work)
    jobs.close()
    assert not locked(work.directory)


def test_two_holders_at_once_cannot_be(tmp_path):
    with hold(tmp_path), pytest.raises(RefusedError, match="another job"), hold(tmp_path):
        pass
    with hold(tmp_path):
        assert locked(tmp_path)
    assert not locked(tmp_path)


def test_no_directory_no_job(tmp_path, jobs):
    with pytest.raises(FaultError), hold(tmp_path / "none"):
        pass
    with pytest.raises(FaultError):
        LocalJobs({Kind.RUN: ["/nowhere/python"]}, env={}).submit(Job(kind=Kind.RUN, directory=tmp_path))
