"""Processes that take part in a benchmark."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

CORES = min(4, os.cpu_count() or 1)
DEADLINE_S = 120
SPAWN = multiprocessing.get_context("spawn")


class Helpers:
    """Processes that get ready, begin on a word, and say when they were done."""

    def __enter__(self) -> Helpers:
        self._processes: list[tuple[Any, Connection]] = []
        return self

    def __exit__(self, *_error: object) -> None:
        for process, pipe in self._processes:
            pipe.send("end")
            process.join(10)
            process.kill()

    def start(self, work: Callable[..., None], *args: object) -> Connection:
        """Have `work(pipe, *args)` get ready in a process of its own."""
        ours, theirs = SPAWN.Pipe()
        process = SPAWN.Process(target=work, args=(theirs, *args))
        process.start()
        self._processes.append((process, ours))
        return ours

    def race(self) -> float:
        """Wait until all are ready, say go, and return the seconds until the last was done."""
        for _, pipe in self._processes:
            _receive(pipe)
        begun = time.time()
        for _, pipe in self._processes:
            pipe.send("go")
        return max(_receive(pipe) for _, pipe in self._processes) - begun


def _receive(pipe: Connection) -> Any:
    if not pipe.poll(DEADLINE_S):
        raise TimeoutError("a process of the benchmark does not answer")
    return pipe.recv()


def shares(names: list[str]) -> list[list[str]]:
    """One for each core."""
    return [share for number in range(CORES) if (share := names[number::CORES])]
