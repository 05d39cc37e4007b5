"""A coordinator's rollouts in a process of its own: database, signed metadata, and devices that do what is signed."""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from sqlalchemy import Connection

from cloud.ingest.inbox import Arrival
from cloud.loop.orders import apply_line, order_release, order_rollout
from cloud.loop.rollouts import RolloutKeeper
from cloud.release.keys import MemoryKeys
from cloud.release.modelsig import MODEL_SIGNING, sign_models
from cloud.release.repository import Repository
from cloud.rollout.advance import TERMINAL, Rollout
from cloud.store.database import Database, open_database, sqlite_url
from cloud.store.devices import Device, Devices, DeviceState
from cloud.store.events import Events
from cloud.store.inbox import SqlInbox
from cloud.store.releases import Releases
from cloud.store.rollouts import Rollouts
from shared.api import RolloutRequest
from shared.bundle import FleetDesired
from shared.clock import VirtualClock
from shared.codec import pack
from shared.ids import device_id
from shared.messages import Batch, Record, Stage, UpdateStatus
from shared.topics import Up
from tests.fault.disk import Disk, Fate
from tests.publishing import make_release

FLEET, MODEL = "wards", "activity"
RELEASE = "activity-1"
PERIOD_S = 5.0
"""Between two turns."""

LINE = {
    "name": MODEL,
    "task": "activity",
    "schema": {"kind": "classification", "labels": ["still", "walk"], "input_shape": [6, 100]},
    "fleets": [FLEET],
}


@dataclass(frozen=True)
class Mortal(Database):
    """Ends this process at its `at`-th write transaction: before its commit, or right after."""

    at: int = 0
    before: bool = False
    seen: list[int] = field(default_factory=list)

    @contextmanager
    def write(self) -> Iterator[Connection]:
        self.seen.append(1)
        due = len(self.seen) == self.at
        with super().write() as connection:
            yield connection
            if due and self.before:
                os.kill(os.getpid(), signal.SIGKILL)
        if due:
            os.kill(os.getpid(), signal.SIGKILL)


class Office:
    """One life of the coordinator over what lies under `home`."""

    def __init__(self, home: Path, keys: MemoryKeys, *, at: int = 0, before: bool = False) -> None:
        self.home = home
        time = home / "time"
        self.clock = VirtualClock(at=float(time.read_text())) if time.exists() else VirtualClock()
        self.database = Mortal(open_database(sqlite_url(home / "db.sqlite")).engine, at, before)
        self.keys = keys
        self.repository = Repository.open(home / "tuf", keys=keys, clock=self.clock)
        self.keeper = RolloutKeeper(database=self.database, repository=self.repository, clock=self.clock)

    def rollout(self) -> Rollout:
        with self.database.read() as connection:
            return Rollouts(connection).all(fleet=FLEET)[0]

    def events(self) -> list[tuple[str, int | None]]:
        """What happened to the rollout: kind, and which wave it was about."""
        with self.database.read() as connection:
            found = Events(connection).after(0, subjects=[self.rollout().id])
        return [(event.kind, event.data.get("wave")) for event in found]

    def asked(self) -> set[str]:
        """Devices that are asked for the release by what is signed now."""
        wanted = self.repository.desired(FLEET)
        return {name for name, entry in wanted.devices.items() if entry.get(MODEL) == RELEASE}

    def turn(self) -> None:
        """One turn of the rollout, and of everything that it waits for."""
        self.keeper.turn()
        self.publish()
        self.keeper.sign()
        with (self.home / "asked").open("ab") as file:
            file.write(msgspec.json.encode(sorted(self.asked())) + b"\n")

    def publish(self) -> None:
        """Sign and publish what waits for it, as the publication gate does once its policy is satisfied."""
        with self.database.read() as connection:
            waiting = Releases(connection).unpublished()
        for row in waiting:
            signed = sign_models(row.document(), self.keys.signer(MODEL_SIGNING))
            with self.database.write() as connection:
                Releases(connection).signed(signed)
            self.repository.publish_release(signed)
            with self.database.write() as connection:
                Releases(connection).published(row.id, signers=[], at=self.clock.now())

    def hear(self, bad: Collection[str]) -> None:
        """Every device that was asked says what became of it; again and again, until it is acknowledged."""
        for name in sorted(self.asked()):
            stage = Stage.ROLLED_BACK if name in bad else Stage.ACTIVE
            status = UpdateStatus(model=MODEL, release=RELEASE, stage=stage, slot="A", at=1.0)
            record = Record(seq=1, at=1.0, body=pack(status))
            batch = Batch(boot="0" * 16, channel=Up.UPDATE, records=[record])
            SqlInbox(self.database).store([Arrival(device_id(name), batch)], at=self.clock.now())

    def go_on(self, bad: Collection[str] = (), *, more: int = 2) -> None:
        """Turn until the rollout is over, and a few times more."""
        left = more
        while left:
            self.turn()
            self.hear(bad)
            left -= self.rollout().state in TERMINAL
            self.clock.advance(PERIOD_S)
            (self.home / "time").write_text(str(self.clock.at))
            assert self.clock.ticks < 2000, f"the rollout does not end: {self.rollout()}"
        self.turn()


def open_office(home: Path, *, devices: int, waves: list[float], tolerated: float = 0.0) -> MemoryKeys:
    """A fleet, a published release, and its rollout in waves after one canary."""
    keys, clock = MemoryKeys(), VirtualClock()
    repository = Repository.create(home / "tuf", keys=keys, tenant="acme", clock=clock)
    repository.add_fleet(FLEET)
    office = Office(home, keys)
    with office.database.write() as connection:
        for number in range(devices):
            Devices(connection).put(_device(number))
        line = LINE | {"soak_s": 2 * PERIOD_S, "deadline_s": 100.0, "tolerated": tolerated, "waves": waves}
        apply_line(connection, MODEL, line, at=clock.now(), by="test")
        order_release(connection, make_release(1), at=clock.now(), by="test")
    office.publish()
    with office.database.write() as connection:
        order_rollout(connection, RolloutRequest(release=RELEASE), fleet=FLEET, at=clock.now(), by="test")
    office.database.close()
    return keys


def in_a_child(act: Callable[[], None], *, trace: Path, fate: Fate | None = None) -> int:
    """Exit status of a process that does `act`; negative for the signal that ended it."""
    child = os.fork()
    if child == 0:
        status = 70
        try:
            if fate is not None:
                Disk(fate).install()
            act()
            status = 0
        except BaseException:
            trace.write_text(traceback.format_exc())
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def desired_by(devices: Collection[str], wanted: FleetDesired) -> set[str]:
    """Devices of a fleet that are to run the release by one signed state, by name or as everybody else."""
    return {name for name in devices if wanted.for_device(name).get(MODEL) == RELEASE}


def _device(number: int) -> Device:
    return Device(
        id=f"watch-{number:02}",
        fleet=FLEET,
        state=DeviceState.ENROLLED,
        hardware=["cpu"],
        public_key=str(number).encode(),
        node=str(100 + number),
        serial=str(number),
        expires_at=2e9,
        enrolled_at=1.0,
        last_seen=1.0,
    )
