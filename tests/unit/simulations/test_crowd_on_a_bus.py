"""A small crowd, a real inbox and a real signed state, over a broker in memory."""

from cloud.ingest.inbox import MemoryInbox
from cloud.ingest.ingest import Ingest
from edge.link.retained import RetainedFiles
from shared.bundle import FleetDesired
from shared.clock import SystemClock
from shared.codec import unpack
from shared.messages import Stage, UpdateStatus
from shared.topics import Up
from shared.trust import TrustClient
from simulations.scenarios.crowd.behaviour import MODEL
from simulations.scenarios.crowd.crowd import Crowd
from tests.update_world import FLEET, TENANT

NAMES = ["meter-1", "meter-2", "meter-3"]


async def test_a_crowd_obeys_what_is_signed_and_every_word_is_acknowledged(update_world, tmp_path, running, until):
    update_world.release(1, b"model", model=MODEL)
    update_world.broker.allow = lambda *_: True
    inbox, bus = MemoryInbox(), update_world.broker.bus("crowd")
    ingest = Ingest(update_world.coordinator, inbox, clock=SystemClock())
    files = RetainedFiles(bus, tenant=TENANT, fleet=FLEET)
    trust = TrustClient(tmp_path / "trust", root=update_world.repository.root_bytes, source=files, clock=SystemClock())
    crowd = Crowd(NAMES, bus=bus, files=files, trust=trust, fleet=FLEET, telemetry_s=0.1, seed=1, pace=0.01)
    crowd.failing = {"gauge-1": frozenset({"meter-2"})}
    async with running(update_world.coordinator, bus, ingest, crowd):
        asked = {name: {MODEL: "gauge-1"} for name in NAMES}
        update_world.repository.set_desired(FleetDesired(fleet=FLEET, devices=asked))
        version = update_world.repository.timestamp_version
        await update_world.publisher.publish(update_world.repository.files(), fleets=[FLEET], timestamp=version)
        await until(lambda: bool(crowd.wanted) and crowd.quiet)
        await until(lambda: any(answer.channel is Up.TELEMETRY for answer in crowd.answered))
    ends = {
        stream.device: unpack(records[max(records)].body, UpdateStatus).stage
        for stream, records in inbox.records.items()
        if stream.channel is Up.UPDATE
    }
    assert ends == {"meter-1": Stage.ACTIVE, "meter-2": Stage.ROLLED_BACK, "meter-3": Stage.ACTIVE}
    assert {stream.device for stream in inbox.records if stream.channel is Up.TELEMETRY} == {"meter-1", "meter-3"}
    assert (crowd.unanswered, crowd.again, crowd.wanted[-1].devices) == (0, 0, 3)
    assert sum(answer.channel is Up.UPDATE for answer in crowd.answered) == 9
