"""No device alarms by anything that happens to one device; two devices with one identity always do, and soon."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cloud.devices.alarm import OnClone
from cloud.devices.succession import RETURNS, Certificate, Epoch, Step, hear, next_step
from cloud.devices.watch import CloneWatch
from cloud.ingest.inbox import Arrival
from cloud.store.database import Database, open_database, sqlite_url
from cloud.store.devices import Device, Devices, DeviceState
from cloud.store.inbox import SqlInbox
from edge.link.outbox import Outbox
from shared.clock import VirtualClock
from shared.ids import DeviceId
from shared.messages import Ack, Batch
from shared.topics import Up

names = itertools.count()


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Database:
    return open_database(sqlite_url(tmp_path_factory.mktemp("clones") / "db.sqlite"))


class Coordinator:
    def __init__(self, database: Database) -> None:
        self.database = database
        self.inbox = SqlInbox(database, watch=CloneWatch(on_clone=OnClone.ALARM))
        self.device = DeviceId(f"watch-{next(names)}")
        row = Device(
            id=self.device, fleet="lab", state=DeviceState.ENROLLED, hardware=[], public_key=b"", serial="1",
            expires_at=1.0, enrolled_at=0.0, last_seen=0.0,
        )  # fmt: skip
        with database.write() as connection:
            Devices(connection).put(row)

    def hear(self, *batches: Batch) -> list[Ack]:
        arrivals = [Arrival(self.device, batch) for batch in batches]
        durable = self.inbox.store(arrivals, at=2.0)
        return [Ack(boot=b.boot, channel=b.channel, seq=seq) for b, seq in zip(batches, durable, strict=True)]

    @property
    def alarm(self) -> str:
        with self.database.read() as connection:
            return Devices(connection).get(self.device).alarm


class Agent:
    """The device's own outbox, and the wire as a list."""

    def __init__(self, directory: Path, clock: VirtualClock, seed: int) -> None:
        self.directory, self.clock, self.random = directory, clock, Random(seed)
        self.start()

    def start(self) -> None:
        self.outbox = Outbox.open(self.directory, cap=8000, clock=self.clock, random=self.random)

    def restart(self) -> None:
        self.outbox.close()
        self.start()

    def lose_outbox(self) -> None:
        self.outbox.close()
        shutil.rmtree(self.directory)
        self.start()

    def write(self, count: int) -> None:
        for _ in range(count):
            self.clock.at += self.random.uniform(-50, 100)  # clocks are set, and not only forwards
            self.outbox.append(Up.TELEMETRY, b"x" * 100)

    def batch(self) -> Batch | None:
        return self.outbox.batch(Up.TELEMETRY)


steps = st.lists(
    st.sampled_from(["write", "write", "send", "send", "send-unheard", "late", "again", "restart", "lose"]), max_size=40
)


@settings(max_examples=25)
@given(steps=steps, seed=st.integers(0, 1 << 30))
@example(steps=[*["write", "send-unheard", "lose", "write", "send", "late"] * 2, "write", "send"], seed=1)
def test_one_device_never_alarms(
    steps: list[str], seed: int, tmp_path_factory: pytest.TempPathFactory, database: Database
) -> None:
    """Restarts, lost acknowledgements, doubled and late batches, lost outboxes, jumping clocks, a cap."""
    coordinator, random = Coordinator(database), Random(seed)
    agent = Agent(tmp_path_factory.mktemp("agent") / "outbox", VirtualClock(), seed)
    sent: list[Batch] = []
    under_way: list[Batch] = []
    for step in steps:
        batch = agent.batch()
        match step:
            case "write":
                agent.write(random.randint(1, 30))
            case "send" if batch is not None:
                sent.append(batch)
                for ack in coordinator.hear(batch):
                    agent.outbox.acknowledge(ack)
            case "send-unheard" if batch is not None:
                under_way = [batch]  # one at a time, and it overtakes nothing of its own epoch
            case "late" if under_way:
                sent.append(under_way[0])
                coordinator.hear(under_way.pop())  # and the acknowledgement is lost
            case "again" if sent:
                coordinator.hear(random.choice(sent))
            case "restart":
                agent.restart()
            case "lose":
                agent.lose_outbox()
    agent.outbox.close()
    assert coordinator.alarm == ""


@settings(max_examples=8)
@given(seed=st.integers(0, 1 << 30))
def test_two_agents_with_one_key_alarm_soon(
    seed: int, tmp_path_factory: pytest.TempPathFactory, database: Database
) -> None:
    coordinator, directory = Coordinator(database), tmp_path_factory.mktemp("two")
    agents = [Agent(directory / str(n), VirtualClock(), seed + n) for n in range(2)]
    for turn in range(2 * RETURNS + 2):
        agent = agents[turn % 2]
        agent.write(3)
        for ack in coordinator.hear(*filter(None, [agent.batch()])):
            agent.outbox.acknowledge(ack)
    assert "outboxes take turns" in coordinator.alarm


@settings(max_examples=8)
@given(seed=st.integers(0, 1 << 30))
def test_a_copy_of_the_whole_disk_alarms_with_its_first_batch(
    seed: int, tmp_path_factory: pytest.TempPathFactory, database: Database
) -> None:
    coordinator, directory = Coordinator(database), tmp_path_factory.mktemp("copy")
    agent = Agent(directory / "one", VirtualClock(), seed)
    agent.write(5)
    agent.outbox.close()
    shutil.copytree(directory / "one", directory / "two")
    agent.start()
    copy = Agent(directory / "two", VirtualClock(at=5.0), seed + 1)
    for each in (agent, copy):
        each.write(5)
        for ack in coordinator.hear(*filter(None, [each.batch()])):
            each.outbox.acknowledge(ack)
    assert "two different records" in coordinator.alarm


@given(st.lists(st.integers(0, 3)))
def test_epochs_that_only_follow_each_other_never_return(speakers: list[int]) -> None:
    epochs: dict[int, Epoch] = {}
    for speaker in sorted(speakers):
        turn = max((epoch.turn for epoch in epochs.values()), default=0)
        epochs[speaker] = hear(epochs.get(speaker), turn=turn)
    assert all(epoch.returned == 0 for epoch in epochs.values())


@given(st.lists(st.sampled_from(["answered", "lost"]), max_size=30), st.floats(0, 40))
def test_one_holder_is_never_taken_for_two(asked: list[str], pause: float) -> None:
    """A device keeps what it was answered; whether an answer is lost it does not choose."""
    newest = Certificate(serial="0", device="d", issued_at=0, expires_at=30, pem="x")
    held, record, at = newest, {"0": newest}, 0.0
    for number, outcome in enumerate(asked, 1):
        at += pause
        step = next_step(record[held.serial], newest, enrolled_at=0, same_key=True, at=at)
        assert step in (Step.ISSUE, Step.REPEAT)
        if step is Step.ISSUE:
            shown = Certificate(**{**_fields(record[held.serial]), "presented_at": at})
            newest = Certificate(
                serial=str(number), device="d", parent=shown.serial, issued_at=at, expires_at=at + 30, pem="x"
            )
            record |= {shown.serial: shown, newest.serial: newest}
        held = newest if outcome == "answered" else held


def _fields(certificate: Certificate) -> dict[str, object]:
    return {name: getattr(certificate, name) for name in certificate.__struct_fields__}
