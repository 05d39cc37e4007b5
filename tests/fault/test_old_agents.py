"""Row 40: agents of older versions of the wire with today's coordinator, and today's agent with an older one."""

import msgspec
import pytest

from cloud.devices.broker import AccessList, Grant
from cloud.distribution.blobs import MemoryBlobs
from cloud.distribution.chunks import ChunkServer
from cloud.distribution.metadata import MetadataPublisher
from cloud.ingest.inbox import MemoryInbox, Stream
from cloud.ingest.ingest import Ingest
from cloud.release.keys import MemoryKeys
from cloud.release.modelsig import MODEL_SIGNING, sign_models
from cloud.release.repository import Repository
from cloud.store.database import open_database, sqlite_url
from cloud.store.inbox import SqlInbox
from shared.bundle import Challenge, FleetDesired, digest_of
from shared.bus.memory import MemoryBroker
from shared.clock import SystemClock
from shared.codec import unpack
from shared.ids import sha256
from shared.messages import Ack, UpdateStatus
from shared.topics import Up
from tests.fault import version_three
from tests.fault.agent import Station
from tests.fault.ground import DEVICE, FLEET, RELEASES, TENANT, unsigned
from tests.fault.stories import STORIES
from tests.fault.test_kills import SECOND
from tests.fault.verdict import committed
from tests.fault.version_three import EPOCH
from tests.wire import golden

OLDER = golden.versions()[:-1]


@pytest.fixture
def broker():
    return MemoryBroker(allow=AccessList([Grant(DEVICE, FLEET, TENANT)]))


@pytest.fixture
def inbox(tmp_path):
    database = open_database(sqlite_url(tmp_path / "db.sqlite"))
    yield SqlInbox(database)
    database.close()


@pytest.mark.parametrize("version", OLDER, ids=lambda path: path.name)
@pytest.mark.parametrize("body", ["telemetry", "drift-report", "update-status"])
async def test_row_40_what_older_agents_report_is_stored_and_acknowledged(broker, inbox, running, until, version, body):
    acknowledged = []
    coordinator, device = broker.bus("coordinator"), broker.bus(DEVICE)
    ingest = Ingest(coordinator, inbox, clock=SystemClock())

    async def heard(delivery):
        acknowledged.append(unpack(delivery.payload, Ack))

    device.on(f"hl/1/d/{DEVICE}/down/ack", heard)
    batch = msgspec.msgpack.decode((version / "batch.bin").read_bytes())
    batch["channel"] = {"telemetry": "telemetry", "drift-report": "drift", "update-status": "update"}[body]
    batch["boot"], batch["dropped"] = EPOCH, 0  # the stored ones are examples of their types, and of no real outbox
    batch["records"][0]["body"] = (version / f"{body}.bin").read_bytes()
    async with running(coordinator, device, ingest):
        await device.publish(f"hl/1/d/{DEVICE}/up/{batch['channel']}", msgspec.msgpack.encode(batch))
        await until(lambda: acknowledged)
    assert (acknowledged[0].boot, acknowledged[0].seq) == (batch["boot"], 1)
    assert ingest.poisoned == 0


class World:
    """Today's coordinator, and an agent of the third version."""

    def __init__(self, broker, tmp_path):
        self.clock, self.keys = SystemClock(), MemoryKeys()
        self.coordinator = broker.bus("coordinator")
        self.device = broker.bus(DEVICE)
        self.blobs = MemoryBlobs()
        self.inbox = MemoryInbox()
        self.server = ChunkServer(self.coordinator, self.blobs, clock=self.clock, gather_s=0, quiet_s=0.01)
        self.ingest = Ingest(self.coordinator, self.inbox, clock=self.clock)
        self.publisher = MetadataPublisher(self.coordinator, tenant=TENANT)
        self.repository = Repository.create(tmp_path / "tuf", keys=self.keys, tenant=TENANT, clock=self.clock)
        self.repository.add_fleet(FLEET)
        self.agent = version_three.Agent(self.device, device=DEVICE, tenant=TENANT, fleet=FLEET)
        self.parts = (self.coordinator, self.device, self.server, self.ingest)

    def release(self, name):
        data, hardware = RELEASES[name]
        self.blobs.put(data)
        release = sign_models(unsigned(name, data, hardware), self.keys.signer(MODEL_SIGNING))
        self.repository.publish_release(release)
        return release

    async def desire(self, **wanted):
        self.repository.set_desired(FleetDesired(fleet=FLEET, **wanted))
        version = self.repository.timestamp_version
        await self.publisher.publish(self.repository.files(), fleets=[FLEET], timestamp=version)


async def test_row_40_an_agent_of_the_version_before_takes_a_release(broker, tmp_path, running, until):
    world = World(broker, tmp_path)
    agent = world.agent
    async with running(*world.parts):
        release = world.release("activity-1")
        await world.desire(default={"activity": "activity-1"})
        await until(lambda: agent.desired() == "activity-1" and agent.release("activity-1"))
        assert await agent.fetch(agent.release("activity-1")) == RELEASES["activity-1"][0]
        await agent.say("activity-1", "active")
        await until(lambda: agent.acknowledged)
    assert agent.release("activity-1").variants[0].chunks == [(c.digest, c.size) for c in release.variants[0].chunks]
    (record,) = world.inbox.records[Stream(DEVICE, EPOCH, Up.UPDATE)].values()
    assert unpack(record.body, UpdateStatus).stage == "active"


async def test_row_40_an_agent_of_the_version_before_ignores_challengers(broker, tmp_path, running, until):
    world = World(broker, tmp_path)
    async with running(*world.parts):
        for name in ("activity-1", "activity-2"):
            world.release(name)
        challenge = Challenge(release="activity-2", rollout="r-1", split=0.5)
        await world.desire(default={"activity": "activity-1"}, challengers={DEVICE: {"activity": challenge}})
        await until(lambda: world.agent.desired() is not None)
    assert world.agent.desired() == "activity-1"


async def test_row_40_a_manifest_reads_in_the_version_before_as_it_was_signed(broker, tmp_path, running, until):
    """An older agent holds what it has decoded against the model's signature: nothing it does not know may count."""
    world = World(broker, tmp_path)
    async with running(*world.parts):
        release = world.release("activity-1")
        await world.desire(default={"activity": "activity-1"})
        await until(lambda: world.agent.release("activity-1"))
    again = msgspec.json.encode(world.agent.release("activity-1"), order="sorted")
    assert sha256(again) == digest_of(release)


async def test_row_40_todays_agent_takes_a_release_from_a_coordinator_of_the_version_before(crew, ground, broker):
    older = []

    def serve(bus, _blobs):
        older.append(version_three.Coordinator(bus, {sha256(data): data for data in ground.blobs()}))
        return older[0]

    with crew.place(STORIES[SECOND]) as place:
        link = (broker.bus("coordinator"), broker.bus(DEVICE))
        station = Station(ground, place, state="two", link=link, serve=serve)
        await station.start()
        await station.follow()
        assert place.heard("end")[-1] == {"activity": "activity-2"}
        assert committed(ground, place, "activity") == "activity-2"
    assert older[0].asked
