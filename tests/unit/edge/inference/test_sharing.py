"""Threads that share a session. What they wait for is a condition, never a time."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pytest

from edge.inference.channel import SLOTS
from edge.inference.runtime import Session
from edge.inference.sharing import SharedSession
from edge.inference.turns import Caller
from shared.errors import FaultError

LIMIT_S = 60.0


class Gated:
    """Doubles its inputs; each run waits for the gate, and fails where an input is 13."""

    providers = ("gated",)

    def __init__(self) -> None:
        self.gate = threading.Semaphore(0)
        self.batches: list[list[float]] = []

    def run(self, batch: np.ndarray) -> list[np.ndarray]:
        self.batches.append(batch.ravel().tolist())
        assert self.gate.acquire(timeout=LIMIT_S)
        if (batch == 13).any():
            raise FaultError("unlucky")
        return [batch * 2]

    def close(self) -> None:
        raise AssertionError("a view closes nothing")


class Rig:
    def __init__(self, *, most: int = 8) -> None:
        self.model = Gated()
        self.shared = SharedSession(self.model, most=most)
        self.threads = ThreadPoolExecutor(16)

    def ask(self, name: str, *values: float, priority: int = 1) -> Future[list[np.ndarray]]:
        """Begin, and return once it waits or runs."""
        before = self._under_way()
        session: Session = self.shared.seen_by(Caller(name=name, priority=priority))
        work = self.threads.submit(session.run, np.array(values, np.float32)[:, np.newaxis])
        _until(lambda: self._under_way() > before)
        return work

    def busy(self) -> list[Future[list[np.ndarray]]]:
        """As many runs as there may be at once; what is asked for next waits."""
        return [self.ask(f"busy{index}", 0) for index in range(SLOTS)]

    def release(self, runs: int) -> None:
        for _ in range(runs):
            self.model.gate.release()

    def _under_way(self) -> int:
        with self.shared._lock:
            return len(self.shared._turns) + sum(map(len, self.model.batches))


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def _values(work: Future[list[np.ndarray]]) -> list[float]:
    return work.result(LIMIT_S)[0].ravel().tolist()


def test_what_waits_while_the_model_works_goes_through_it_together() -> None:
    rig = Rig()
    works = [*rig.busy(), rig.ask("a", 1), rig.ask("b", 2), rig.ask("c", 3, 4), rig.ask("d", 5)]
    rig.release(3)
    assert [_values(work) for work in works[SLOTS:]] == [[2], [4], [6, 8], [10]]
    assert rig.model.batches[SLOTS:] == [[1, 2, 3, 4, 5]]


def test_without_batches_they_take_turns_by_priority() -> None:
    rig = Rig(most=1)
    rig.busy()
    works = [rig.ask("slow", 1), rig.ask("slow", 2), rig.ask("quick", 3, priority=4), rig.ask("quick", 4, priority=4)]
    for already in range(SLOTS, SLOTS + len(works)):
        rig.release(1)  # one after the other, as two abreast may note themselves in either order
        _until(lambda already=already: len(rig.model.batches) > already)
    rig.release(SLOTS)
    assert [_values(work) for work in works] == [[2], [4], [6], [8]]
    assert rig.model.batches[SLOTS:] == [[1], [3], [4], [2]]


def test_nobody_pays_for_another_ones_inputs() -> None:
    rig = Rig()
    rig.busy()
    works = [rig.ask("b", 2), rig.ask("c", 13), rig.ask("d", 4)]
    rig.release(SLOTS + 4)
    assert [_values(works[index]) for index in (0, 2)] == [[4], [8]]
    with pytest.raises(FaultError, match="unlucky"):
        works[1].result(LIMIT_S)
    assert rig.model.batches[SLOTS:] == [[2, 13, 4], [2], [13], [4]]
    again = rig.ask("c", 5)
    rig.release(1)
    assert _values(again) == [10]


def test_a_model_that_gives_too_few_rows_is_at_fault_for_all() -> None:
    rig = Rig()
    busy = rig.busy()
    works = [rig.ask("b", 2), rig.ask("c", 3)]
    rig.model.run = lambda batch: [np.zeros((1, 1), np.float32)]  # type: ignore[method-assign]  # from the next on
    rig.release(SLOTS)
    assert [_values(work) for work in busy] == [[0]] * SLOTS
    for work in works:
        with pytest.raises(FaultError, match="one row"):
            work.result(LIMIT_S)


def test_many_threads_get_their_own_answers() -> None:
    rig = Rig(most=16)
    rig.release(4 * 200)

    def work(name: str) -> None:
        session = rig.shared.seen_by(Caller(name=name))
        for index in range(200):
            x = np.array([[100 + index]], np.float32)
            assert session.run(x)[0].tolist() == [[2 * (100 + index)]]

    for each in [rig.threads.submit(work, name) for name in "abcd"]:
        each.result(LIMIT_S)
    assert sum(map(len, rig.model.batches)) == 800
