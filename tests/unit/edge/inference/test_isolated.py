"""A model's process fails: the session says why, starts it again in time, and leaves nothing behind."""

import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest

from edge.inference.host import ModelHost
from edge.inference.isolated import ALARM, IsolatedSession
from edge.inference.process import Isolation
from shared.clock import SystemClock, VirtualClock
from shared.errors import FaultError, HinterlandError, TrustError
from tests.hostile_model import isolation
from tests.model_processes import children
from tests.models import SHAPE, classifier, place

X = np.zeros((1, *SHAPE), np.float32)


def _isolated(data: bytes, wanted: Isolation | None = None) -> IsolatedSession:
    return IsolatedSession(data, wanted or isolation(), clock=SystemClock(), random=Random(1))


def test_a_process_that_ended_is_started_again_after_a_pause() -> None:
    session = _isolated(b"crash")
    first = session.pid
    with pytest.raises(FaultError, match="SIGSEGV"):
        session.run(X)
    assert session.ends == 1
    with pytest.raises(FaultError, match=r"starts again in|SIGSEGV"):
        session.run(X)
    _settle(lambda: session.ends >= 2 or _raises(session, "SIGSEGV"))
    assert session.pid != first
    session.close()


def test_repeated_ends_are_an_alarm(caplog: pytest.LogCaptureFixture) -> None:
    session = _isolated(b"exit")
    while session.ends < ALARM:
        assert _raises(session, "")
        time.sleep(0.01)
    session.close()
    assert [record.levelname for record in caplog.records][-1] == "ERROR"
    assert f"ended its process {ALARM} times in a row" in caplog.text


def test_starts_that_fail_count_however_long_it_had_served_before() -> None:
    clock = VirtualClock()
    session = IsolatedSession(b"nothing", isolation(), clock=clock, random=Random(1))
    clock.advance(3600)
    os.kill(session.pid, 9)
    session._isolation = replace(isolation(), entry=("-c", "raise SystemExit(3)"))  # the machine has changed under it
    for ends in range(1, ALARM + 1):
        assert _raises(session, "")
        assert session.ends == ends
        clock.advance(100)
    assert "status 3" in session.last_end
    session.close()


def test_a_process_that_was_killed_from_outside_comes_back_with_the_same_model(tmp_path: Path) -> None:
    session = _isolated(classifier(2.0), Isolation())
    (before,) = session.run(X + 1)
    os.kill(session.pid, 9)
    answers: list[np.ndarray] = []

    def again() -> bool:
        try:
            answers.extend(session.run(X + 1))
        except FaultError:
            return False
        return True

    _settle(again)
    assert np.array_equal(answers[0], before)
    session.close()


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("crash", "SIGSEGV"),
        ("hang", "no answer within 0.3 s"),
        (f"allocate:{10 << 30}", "needs more than 256 MiB"),
        ("while loading:crash", "SIGSEGV"),
        (f"while loading:allocate {10 << 30}", "needs more than 256 MiB"),
    ],
)
async def test_a_bad_release_is_refused_and_the_one_before_serves_on(tmp_path: Path, what: str, reason: str) -> None:
    bounds = isolation(answer_s=0.3)
    host = ModelHost(IsolatedSession.loader(bounds, clock=SystemClock(), random=Random(1)))
    await host.activate("toy", *place(tmp_path, b"nothing"))
    with pytest.raises(FaultError, match=reason):
        await host.activate("toy", *place(tmp_path, what.encode(), counter=2))
    with host.lease("toy") as served:
        assert served is not None
        assert served.release.counter == 1
        assert served.session.run(X)[0].shape == (1, 2)
    await host.withdraw("toy")


def test_a_hang_while_loading_is_killed_too() -> None:
    with pytest.raises(FaultError, match="no answer within 1 s"):
        _isolated(b"while loading:hang", isolation(load_s=1))


def test_a_file_that_must_not_be_parsed_is_distrusted_there_too() -> None:
    with pytest.raises(TrustError, match="no message"):
        _isolated(b"no model at all", Isolation())


def test_a_batch_larger_than_the_shared_memory_is_a_fault() -> None:
    session = _isolated(b"nothing")
    with pytest.raises(FaultError, match="more than 64 MiB"):
        session.run(np.zeros((1, 17 << 20), np.float32))
    assert session.run(X)
    session.close()


@pytest.mark.parametrize("swaps", [20, pytest.param(500, marks=pytest.mark.soak)])
async def test_swaps_leave_no_process_descriptor_or_memory_behind(tmp_path: Path, swaps: int) -> None:
    others = children()
    host = ModelHost(IsolatedSession.loader(Isolation(), clock=SystemClock(), random=Random(1)))
    await host.activate("toy", *place(tmp_path, classifier()))  # what is made once is there
    await host.withdraw("toy")
    _settle(lambda: not children() - others)
    before = _descriptors()
    refused = answered = 0
    for counter in range(1, swaps + 1):
        poison = float("nan") if counter % 7 == 0 else 1.0
        try:
            await host.activate("toy", *place(tmp_path, classifier(4.0, poison=poison), counter=counter))
        except HinterlandError:
            refused += 1
        with host.lease("toy") as served:
            assert served is not None
            answered += len((await asyncio.to_thread(served.session.run, X))[0])
        assert len(children() - others) <= 3  # one serves; one may be ending, and one being refused
    assert (refused, answered) == (swaps // 7, swaps)
    await host.withdraw("toy")
    _settle(lambda: not children() - others)
    assert (children() - others, _descriptors()) == (set(), before)


async def test_a_load_that_is_cancelled_leaves_no_process_behind(tmp_path: Path) -> None:
    others = children()
    host = ModelHost(IsolatedSession.loader(Isolation(), clock=SystemClock(), random=Random(1)))
    loading = asyncio.create_task(host.activate("toy", *place(tmp_path, classifier())))
    while not children() - others:
        await asyncio.sleep(0.005)
    loading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await loading
    async with asyncio.timeout(10):
        while children() - others:
            await asyncio.sleep(0.01)
    assert host.serving("toy") is None


async def test_a_closed_host_has_ended_its_processes(tmp_path: Path) -> None:
    others = children()
    host = ModelHost(IsolatedSession.loader(Isolation(), clock=SystemClock(), random=Random(1)))
    for model in ("one", "two"):
        await host.activate(model, *place(tmp_path, classifier(), model=model))
    assert len(children() - others) == 2
    await host.close()
    _settle(lambda: not children() - others)
    assert not children() - others


def test_a_model_runs_on_the_processors_that_its_owner_names() -> None:
    cpu = max(os.sched_getaffinity(0))
    session = _isolated(classifier(), Isolation(cpus=[cpu]))
    assert os.sched_getaffinity(session.pid) == {cpu}
    session.close()


def test_processors_that_are_not_there_are_refused_and_leave_no_process() -> None:
    others = children()
    with pytest.raises(FaultError, match="4095") as refused:
        _isolated(classifier(), Isolation(cpus=[4095]))
    assert "inference.cpus" in refused.value.hint
    assert not children() - others


def _raises(session: IsolatedSession, reason: str) -> bool:
    try:
        session.run(X)
    except FaultError as error:
        return reason in str(error)
    return False


def _descriptors() -> int:
    """Shared memory is held by descriptors alone: memfd has no name that could stay."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def _settle(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        if time.monotonic() > deadline:
            return
        time.sleep(0.01)
