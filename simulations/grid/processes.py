"""Clients of a round trained by processes of their own, each of which holds the data once.

Threads that train small clients wait for each other: every call of torch is a turn at the interpreter's lock. Processes
share none. They cost seconds to begin, and the memory of the data and of torch once more each.

Importing this module does not import torch.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from shared.errors import FaultError
from shared.task import Recipe, Trained, Weights
from shared.task_many import TrainsMany
from shared.tasks import adapter
from simulations.grid.clients import Clients

MOST = 16
"""Clients that are handed over at once; the fewer, the more evenly the work is spread."""

PORTIONS = 4
"""Portions for each process, at least, so that none has nothing to do for long at the end of a round."""

_held: list[Clients] = []


class Crew:
    """Processes that train; begun with the first clients, and again after `close`."""

    def __init__(self, clients: Clients, processes: int) -> None:
        """Train `clients`, which are sent to each of `processes` processes when it begins."""
        self._clients = clients
        self._processes = processes
        self._pool: ProcessPoolExecutor | None = None

    def train(self, task: str, weights: Weights, asked: Sequence[tuple[int, Recipe]]) -> Iterator[tuple[int, Trained]]:
        """Train the clients at these positions; yield for each its place in `asked` and what it sends back.

        The same arguments give the same bytes, whichever process trains whom.

        Raises:
            FaultError: a process has died.
        """
        sizes = [len(share.training) for share in self._clients.shares()]
        order = sorted(range(len(asked)), key=lambda at: (-sizes[asked[at][0]], at))
        portion = max(1, min(MOST, -(-len(order) // (PORTIONS * self._processes))))
        portions = iter([order[start : start + portion] for start in range(0, len(order), portion)])
        waiting: deque[tuple[list[int], Future[list[tuple[int, Trained]]]]] = deque()
        try:
            while True:
                while len(waiting) <= self._processes and (places := next(portions, None)) is not None:
                    clients = [asked[at] for at in places]
                    waiting.append((places, self._begun().submit(_train, task, weights, clients)))
                if not waiting:
                    return
                places, future = waiting.popleft()
                for at, trained in future.result():
                    yield places[at], trained
        except BrokenProcessPool as error:
            self._pool = None
            raise FaultError(
                f"a training process has died: {error}",
                hint="Memory may have run out: use fewer processes. A script that starts them needs "
                '`if __name__ == "__main__":` around what it runs.',
            ) from error

    def close(self) -> None:
        """End the processes."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    def _begun(self) -> ProcessPoolExecutor:
        if self._pool is None:
            # a fork would inherit locks of threads that it does not inherit
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(
                self._processes, mp_context=context, initializer=_begin, initargs=(self._clients,)
            )
        return self._pool


def _begin(clients: Clients) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever is at the terminal stops the parent, and it stops us
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_follow, args=(parent,), name="follow the parent", daemon=True).start()
    clients.shares()
    _held[:] = [clients]


def _follow(parent: multiprocessing.process.BaseProcess) -> None:
    parent.join()
    os._exit(1)


def _train(task: str, weights: Weights, asked: Sequence[tuple[int, Recipe]]) -> list[tuple[int, Trained]]:
    family = adapter(task)
    assert isinstance(family, TrainsMany)  # noqa: S101 - the Grid has seen to it; this tells the type checker
    shares = _held[0].shares()
    return list(family.train_many(weights, [(shares[position].training, recipe) for position, recipe in asked]))
