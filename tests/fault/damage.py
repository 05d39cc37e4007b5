"""Disks that lie, fill up, or take no more writes, and what an agent makes of them."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from shared.bus import Delivery
from shared.faultpoints import VARIABLE
from tests.fault.agent import Place, Station
from tests.fault.crew import Crew, memory, run_agent
from tests.fault.images import KINDS, Image, Kind, run, small_memory_disk
from tests.fault.stories import STORIES
from tests.fault.verdict import judge

BALLAST = "ballast"


@dataclass(frozen=True)
class Damage:
    """What is done to one file of a device that lies still."""

    path: str
    """Relative to the device."""

    how: str
    """`zeroed`, `emptied`, `removed`, `added` (a file beside it), or the position of a bit to flip, 0 to 1."""

    def do(self, device: Path) -> None:
        path = device / self.path
        if self.how == "added":
            path.with_name("added").write_bytes(b"x")
        elif self.how == "removed":
            path.unlink()
        else:
            data = bytearray(path.read_bytes())
            if self.how == "zeroed":
                data[:] = bytes(len(data))
            elif self.how == "emptied":
                data.clear()
            else:
                data[min(int(float(self.how) * len(data)), len(data) - 1)] ^= 0x10
            path.write_bytes(data)


@dataclass(frozen=True)
class Told:
    """What a process of the agent made of a damaged device."""

    start: dict[str, str]
    """What served without a link."""

    end: dict[str, str]
    """What served once all was done."""

    said: list[list[str]] = field(default_factory=list)
    """(release, stage, reason) as reported."""

    loaded: list[str] = field(default_factory=list)

    def reasons(self, release: str, stage: str) -> str:
        return " ".join(reason for name, at, reason in self.said if (name, at) == (release, stage))


def after_damage(
    crew: Crew, story_name: str, damages: tuple[Damage, ...], state: str = "", broken: Callable[[], None] | None = None
) -> Told:
    """Start an agent on a damaged device, and let it look at `state`, or what the story wants."""
    story = STORIES[story_name]
    with crew.place(story) as place:
        for damage in damages:
            damage.do(place.device)
        prepare = None if broken is None else lambda _station: broken()
        status = run_agent(crew.ground, place, state=state or story.wants, prepare=prepare)
        assert status == 0, f"{status}: {damages}: {place.log.with_suffix('.trace').read_text()}"
        (start,), (end,) = place.heard("start"), place.heard("end")
        return Told(start, end, place.heard("said"), place.heard("loaded"))


def after_kills(crew: Crew, story_name: str, points: tuple[str, ...]) -> Told:
    """What an agent makes of a device on which its predecessors were ended, each at one of `points`."""
    story = STORIES[story_name]
    with crew.place(story) as place:
        for point in points:
            run_agent(
                crew.ground, place, state=story.wants, prepare=lambda _, p=point: os.environ.update({VARIABLE: p})
            )
        assert run_agent(crew.ground, place, state=story.wants) == 0, _trace(place)
        return Told(place.heard("start")[-1], place.heard("end")[-1], place.heard("said"), place.heard("loaded"))


def when_asked_for(index: int, act: Callable[[], None]) -> Callable[[Station], None]:
    """Have `act` happen when chunk `index` of a download arrives, once; -1 for before anything."""

    def prepare(station: Station) -> None:
        if index < 0:
            act()
            return
        done: list[int] = []

        def on_the_way(_receiver: str, delivery: Delivery) -> list[Delivery]:
            if "/blob/" in delivery.topic and len(done) <= index:
                done.append(1)
                if len(done) == index + 1:
                    act()
            return [delivery]

        station.broker.on_the_way = on_the_way

    return prepare


def fill(disk: Path) -> None:
    """Take every byte that is left."""
    with suppress(OSError), (disk / BALLAST).open("ab", buffering=0) as file:
        piece = bytes(64 << 10)
        while True:
            file.write(piece)
    with suppress(OSError), (disk / BALLAST).open("ab", buffering=0) as file:
        while True:
            file.write(b"x")


def take_inodes(disk: Path) -> None:
    """Take every inode that is left."""
    (disk / BALLAST).mkdir(exist_ok=True)
    with suppress(OSError):
        for number in range(1 << 20):
            (disk / BALLAST / str(number)).touch()


def free(disk: Path) -> None:
    """Give back what was taken."""
    ballast = disk / BALLAST
    shutil.rmtree(ballast) if ballast.is_dir() else ballast.unlink(missing_ok=True)


def on_a_full_disk(crew: Crew, story_name: str, index: int, act: Callable[[Path], None]) -> str:
    """What is wrong when a disk has no more room from chunk `index` on, and later has some again; empty for nothing."""
    story = STORIES[story_name]
    with _disk(crew, story_name, act) as (disk, place):
        prepare = when_asked_for(index, partial(act, disk))
        assert run_agent(crew.ground, place, state=story.wants, prepare=prepare) == 0, _trace(place)
        if place.heard("end")[-1] != story.old:
            return f"serves {place.heard('end')[-1]} on a full disk"
        # where room is lacking it is given back; where only names are, what has come stays for the next attempt
        if act is fill and (left := list((disk / "device" / "models").glob("*/incoming/*"))):
            return f"{left} is left"
        free(disk)
        return judge(crew.ground, place, story, go_on=partial(run_agent, crew.ground, place, state=story.wants))


def on_a_read_only_disk(crew: Crew, story_name: str, index: int) -> str:
    """What is wrong when the kernel takes no more writes from chunk `index` on, until the next mount."""
    story = STORIES[story_name]
    with _home() as home:
        image = _image(crew, story_name, home, KINDS["ext4"])
        with image.mounted(home / "disk") as disk:
            place = Place(disk / "device", home / "said")
            # what ext4 does to itself when it finds an error: read-only, whoever has files open
            abort = partial(run, "mount", "-o", "remount,abort", str(disk))
            prepare = when_asked_for(index, abort)
            assert run_agent(crew.ground, place, state=story.wants, prepare=prepare) == 0, _trace(place)
            if place.heard("start")[-1] != story.old or place.heard("end")[-1] != story.old:
                return f"serves {place.heard('end')[-1]} on a read-only disk"
            if not [reason for _, stage, reason in place.heard("said") if stage in ("failed", "refused") and reason]:
                return f"did not say that it failed: {json.dumps(place.heard('said'))}"
        run("e2fsck", "-fy", str(image.path))
        with image.mounted(home / "disk") as disk:
            place = Place(disk / "device", home / "said")
            return judge(crew.ground, place, story, go_on=partial(run_agent, crew.ground, place, state=story.wants))


@contextmanager
def _disk(crew: Crew, story_name: str, act: Callable[[Path], None]) -> Iterator[tuple[Path, Place]]:
    with _home() as home:
        if act is take_inodes:
            image = _image(crew, story_name, home, KINDS["ext4"], "-N", "256")
            with image.mounted(home / "disk") as disk:
                yield disk, Place(disk / "device", home / "said")
        else:
            with small_memory_disk(home / "disk", mib=4) as disk, crew.place(STORIES[story_name]) as base:
                shutil.copytree(base.device, disk / "device", symlinks=True)
                yield disk, Place(disk / "device", home / "said")


def _image(crew: Crew, story_name: str, home: Path, kind: Kind, *more: str) -> Image:
    image = Image.make(home / "disk.img", kind, *more)
    with image.mounted(home / "disk") as disk, crew.place(STORIES[story_name]) as base:
        shutil.copytree(base.device, disk / "device", symlinks=True)
    return image


@contextmanager
def _home() -> Iterator[Path]:
    home = Path(tempfile.mkdtemp(prefix="damage-", dir=memory()))
    try:
        yield home
    finally:
        shutil.rmtree(home)


def _trace(place: Place) -> str:
    path = place.log.with_suffix(".trace")
    return path.read_text() if path.exists() else ""
