"""One update on a disk whose power goes at many moments; each of the disks that are left is then started from.

A kernel writes when it is asked to, and besides whenever it likes. Both ends are played: lazy, where it writes nothing
but what fsync asks for and the power goes after each fsync and rename; and eager, where the journal of the file system
is committed after every single request, and the power goes then: names are there, contents only if synced.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.fault.agent import Place, Station
from tests.fault.crew import Crew, memory, run_agent, start_agent, wait
from tests.fault.disk import SETTLED, Disk
from tests.fault.images import KINDS, Image
from tests.fault.stories import STORIES
from tests.fault.verdict import judge

Break = Callable[[], None]
"""Takes a precaution out of the code of one process, to see that the judge notices."""


@dataclass(frozen=True)
class Cut:
    """The disk and the words as they were when the power went."""

    at: int
    image: Image
    log: Path


@dataclass(frozen=True)
class Outage:
    """One story on one kind of disk."""

    story: str
    kind: str
    eager: bool = False
    broken: Break | None = None


def cut_power(crew: Crew, outage: Outage) -> list[str]:
    """For each moment at which the power went in a story, what is wrong then; empty for nothing."""
    story = STORIES[outage.story]
    with _home() as home:
        image = Image.make(home / "disk.img", KINDS[outage.kind])
        with image.mounted(home / "disk") as disk, crew.place(story) as base:
            shutil.copytree(base.device, disk / "device", symlinks=True)
        with image.mounted(home / "disk") as disk:  # mounted anew: what was there before is on the disk
            cuts = list(_cuts(crew, image, Place(disk / "device", home / "said"), outage))
        found = []
        for cut in cuts:
            with cut.image.mounted(home / f"disk-{cut.at}") as disk:
                place = Place(disk / "device", cut.log)
                wrong = judge(
                    crew.ground, place, story, go_on=partial(run_agent, crew.ground, place, state=story.wants)
                )
                found.append(f"cut {cut.at} of {len(cuts)}: {wrong}" if wrong else "")
            cut.image.path.unlink()
    return found


def _cuts(crew: Crew, image: Image, place: Place, outage: Outage) -> Iterator[Cut]:
    """Let an agent run from one request to the next, and copy the disk in between."""

    told, tell = os.pipe()
    waits, go = os.pipe()
    write = os.write  # before anybody counts what is written

    def stop(_number: int, name: str) -> None:
        if outage.eager or name in SETTLED:
            write(tell, b".")
            os.read(waits, 1)

    def stop_at_each(_station: Station) -> None:
        os.close(go)
        if outage.broken is not None:
            outage.broken()
        Disk(after=stop).install()

    child = start_agent(crew.ground, place, state=STORIES[outage.story].wants, prepare=stop_at_each)
    os.close(tell)
    os.close(waits)
    at = 0
    while os.read(told, 1):
        at += 1
        if outage.eager:
            _commit(place.device.parent / "bystander", at)
        log = place.log.with_name(f"said-{at}")
        shutil.copy(place.log, log)
        yield Cut(at, image.copy(place.log.with_name(f"cut-{at}.img")), log)
        os.write(go, b".")
    os.close(told)
    os.close(go)
    status = wait(child)
    assert status == 0, f"the agent ended with {status}: {place.log.read_text()}"


def _commit(bystander: Path, at: int) -> None:
    """Have the file system commit its journal, for another file's sake."""
    with bystander.open("w") as file:
        file.write(str(at))
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def _home() -> Iterator[Path]:
    home = Path(tempfile.mkdtemp(prefix="power-", dir=memory()))
    try:
        yield home
    finally:
        shutil.rmtree(home)
