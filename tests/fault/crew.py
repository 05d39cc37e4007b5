"""Cases in processes that are forked from a warm one: each ends where it was told to, and a fresh one goes on."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache, partial
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

from shared.faultpoints import VARIABLE
from tests.fault.agent import Place, Station, live
from tests.fault.disk import Disk, Fate
from tests.fault.ground import Ground
from tests.fault.stories import STORIES, Story
from tests.fault.tracer import Trace, trace_agent
from tests.fault.verdict import judge

T = TypeVar("T")

LIMIT_S = 300.0
"""An agent that is not through by then hangs."""

FAILED = 70
"""Exit status of an agent whose own code raised."""

Prepare = Callable[[Station], None]

Fault = Fate | Trace | str
"""A request to the disk, a system call under strace, or the name of a fault point."""


@dataclass(frozen=True)
class Case:
    """One story with its faults, in the order in which processes meet them."""

    story: str
    faults: tuple[Fault, ...] = ()
    """One for each process but the last."""

    broken: Callable[[], None] | None = None
    """Takes a precaution out of the code of every process, to see that the judge notices."""


@dataclass(frozen=True)
class Outcome:
    """What became of a case."""

    case: Case
    ended: int
    """Processes that the fault ended."""

    wrong: str = ""
    """What the judge found."""


@dataclass(frozen=True)
class Crew:
    """Plays cases over copies of prepared devices, as many at once as there are processors."""

    ground: Ground
    bases: Path
    """For each story, the device as it is when the story begins."""

    def prepare(self) -> None:
        """Bring a device to where each story begins."""
        for before in {story.before for story in STORIES.values()}:
            device = self._base(before)
            device.mkdir(parents=True)
            place = Place(device, device.with_suffix(".log"))
            for state in before:
                assert run_agent(self.ground, place, state=state) == 0, place.log.read_text()

    def requests(self, story: Story) -> list[str]:
        """Names of all that a process asks of the disk in a story without a fault."""
        with self.place(story) as place:
            counted = place.log.with_suffix(".asked")

            def count(station: Station) -> None:
                disk = Disk()
                disk.install()
                station.done = lambda: counted.write_text("\n".join(disk.asked))

            assert run_agent(self.ground, place, state=story.wants, prepare=count) == 0
            return counted.read_text().split("\n")

    def play(self, cases: Sequence[Case]) -> list[Outcome]:
        """Every case, judged."""
        return self.each(play, cases, chunk=8)

    def each(self, act: Callable[..., T], *arguments: Iterable[Any], chunk: int = 1) -> list[T]:
        """`act(crew, …)` for each set of arguments, in warm processes of their own."""
        return list(warm().map(act, repeat(self), *arguments, chunksize=chunk))

    @contextmanager
    def place(self, story: Story, *, under: Path | None = None) -> Iterator[Place]:
        """A copy of the device with which the story begins."""
        home = Path(tempfile.mkdtemp(prefix="fault-", dir=under or memory()))
        try:
            shutil.copytree(self._base(story.before), home / "device", symlinks=True)
            yield Place(home / "device", home / "said")
        finally:
            shutil.rmtree(home)

    def _base(self, before: tuple[str, ...]) -> Path:
        return self.bases / "-".join(("fresh", *before))


@cache
def warm() -> ProcessPoolExecutor:
    """Processes that have imported everything, for all tests: each agent is forked from one of them."""
    return ProcessPoolExecutor(max_workers=os.cpu_count() or 1, mp_context=get_context("spawn"))


def play(crew: Crew, case: Case) -> Outcome:
    """One case, in a copy of its story's device."""
    story, ended = STORIES[case.story], 0
    with crew.place(story) as place:
        for fault in case.faults:
            ended += _run_with(fault, crew.ground, place, case) == -signal.SIGKILL
        prepare = None if case.broken is None else lambda _station: case.broken()
        go_on = partial(run_agent, crew.ground, place, state=story.wants, prepare=prepare)
        wrong = judge(crew.ground, place, story, go_on=go_on)
    return Outcome(case, ended, wrong)


def run_agent(ground: Ground, place: Place, *, state: str, prepare: Prepare | None = None) -> int:
    """One process of the agent; return its exit status, negative for the signal that ended it."""
    return wait(start_agent(ground, place, state=state, prepare=prepare))


def start_agent(ground: Ground, place: Place, *, state: str, prepare: Prepare | None = None) -> int:
    """Fork a process of the agent; return its id."""
    child = os.fork()
    if child == 0:
        _live_and_exit(ground, place, state, prepare)
    return child


def wait(child: int) -> int:
    """The exit status of a child; one that hangs is ended."""
    deadline = time.monotonic() + LIMIT_S
    pause = 0.001
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGABRT)
            deadline += LIMIT_S
        time.sleep(pause)
        pause = min(0.01, pause * 1.5)


def _live_and_exit(ground: Ground, place: Place, state: str, prepare: Prepare | None) -> None:
    status = FAILED
    try:
        logging.disable(logging.CRITICAL)  # what is expected here would fill the screen
        station = Station(ground, place, state=state)
        if prepare is not None:
            prepare(station)
        asyncio.run(live(station))
        station.done()
        status = 0
    except BaseException:
        with suppress(OSError):
            place.log.with_suffix(".trace").write_text(traceback.format_exc())
    finally:
        os._exit(status)


def _run_with(fault: Fault, ground: Ground, place: Place, case: Case) -> int:
    def prepare(_station: Station) -> None:
        if case.broken is not None:
            case.broken()
        if isinstance(fault, Fate):
            Disk(fault).install()
        else:
            os.environ[VARIABLE] = fault

    state = STORIES[case.story].wants
    if isinstance(fault, Trace):
        return trace_agent(fault, ground, place, state=state)
    return run_agent(ground, place, state=state, prepare=prepare)


def memory() -> Path | None:
    """Where killing costs no disk: a kill loses nothing that was written, whatever it was written to."""
    shm = Path("/dev/shm")
    return shm if os.access(shm, os.W_OK) and shutil.disk_usage(shm).free > 256 << 20 else None
