"""One function wires a coordinator; tests and simulations override its parts."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from random import SystemRandom
from typing import Any

from fastapi import FastAPI

from cloud.access.approvers import Approvers
from cloud.access.gate import open_gate
from cloud.access.rollout_approvers import approved
from cloud.api.app import create_app
from cloud.api.services import Services
from cloud.audit.anchors import AnchorFile, Anchoring
from cloud.audit.outside import TrustKeeper, note_settings
from cloud.central.orders import Where
from cloud.cluster.joining import join, share_group
from cloud.cluster.leadership import Leadership
from cloud.devices.alarm import OnClone
from cloud.devices.desk import EnrolmentDesk, Welcome
from cloud.devices.doors import Doors, Nodes
from cloud.devices.profiles import DAY
from cloud.devices.renewal import CertificatePolicy
from cloud.devices.watch import CloneWatch
from cloud.distribution.chunks import ChunkServer
from cloud.distribution.metadata import MetadataPublisher
from cloud.ingest.ingest import Ingest
from cloud.jobs.local import coordinator_jobs
from cloud.jobs.port import Jobs, read_log
from cloud.keys import control_token, open_authority, open_keys, open_vault, uses_vault
from cloud.loop.attesting import Admission
from cloud.loop.central import CentralKeeper
from cloud.loop.drift import DriftKeeper
from cloud.loop.expiry import ExpiryWatch
from cloud.loop.keys import LOOK_S, KeyWatch
from cloud.loop.releases import Publication
from cloud.loop.rollouts import RolloutKeeper
from cloud.loop.runs import RunKeeper
from cloud.loop.turn import Loop, Publishing, Seldom, Step, Turn, in_thread
from cloud.metrics.collector import Ingested, Sources, expose
from cloud.release.repository import Repository
from cloud.settings import Settings
from cloud.setup import fit_certificates, open_door, open_sealer, open_state
from cloud.store.blobs import FileBlobs
from cloud.store.database import Database
from cloud.store.distribution import SqlFleets
from cloud.store.inbox import SqlInbox
from cloud.store.layouts import SqlLayouts
from cloud.store.retention import Retention
from cloud.tls import CertificateKeeper, days_left
from cloud.tracking.sink import MlflowSink, open_sink
from shared.bus import Bus
from shared.bus.mqtt import Endpoint, MqttBus
from shared.clock import Clock, SystemClock
from shared.errors import TransportError
from shared.ids import TenantId

RETENTION_S = 3600.0
"""Seconds between two looks at what is old enough to be forgotten."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Coordinator:
    """A wired coordinator."""

    settings: Settings
    database: Database
    repository: Repository
    app: FastAPI
    bus: Bus
    turn: Turn
    loop: Loop
    ingest: Ingest
    chunks: ChunkServer
    jobs: Jobs
    tracking: MlflowSink | None = None
    """None where runs are told to nobody else."""

    leadership: Leadership | None = None
    """None where one coordinator works alone."""

    def tasks(self) -> Mapping[str, Coroutine[Any, Any, None]]:
        """What runs for as long as the coordinator does, by name."""
        return {
            "bus": self.bus.run(),
            "ingest": self.ingest.run(),
            "chunks": self.chunks.run(),
            "loop": self.loop.run(),
            **({"tracking": self.tracking.run()} if self.tracking else {}),
            **({"leadership": self.leadership.run(changed=self.loop.wake)} if self.leadership else {}),
        }

    def close(self) -> None:
        """End the jobs and give the database back; their runs go on at the next start."""
        self.jobs.close()
        if self.leadership is not None:
            self.leadership.release()
        self.database.close()


def build(
    settings: Settings,
    *,
    clock: Clock | None = None,
    bus: Bus | None = None,
    jobs: Jobs | None = None,
    nodes: Nodes | None = None,
) -> Coordinator:
    """Wire a coordinator over an initialised directory.

    Args:
        settings: what it was told.
        clock: the system's when None.
        bus: MQTT over mutual TLS when None.
        jobs: processes on this machine when None.
        nodes: the SuperLink's register when None and one is configured.

    Raises:
        HinterlandError: a part cannot be opened.
    """
    clock, layout = clock or SystemClock(), settings.layout
    sealer = open_sealer(settings)
    vault = open_vault(settings, clock=clock) if uses_vault(settings) else None
    authority = open_authority(settings, sealer=sealer, vault=vault)
    try:
        fit_certificates(settings, authority, at=clock.now())
    except TransportError as error:  # a coordinator starts without its Vault; the loop asks again
        log.warning("certificates of our own servers wait: %s", error)
    policy = _certificate_policy(settings)
    database = open_state(settings)
    note_settings(database, settings, at=clock.now())
    anchoring = Anchoring(database=database, file=AnchorFile(settings.anchor_file), clock=clock)
    leadership = join(settings, database, clock)
    led = database if leadership is None else database.guarded(leadership.fence)
    group = share_group(settings)
    keys = open_keys(settings, sealer=sealer, vault=vault)
    repository = Repository.open(layout.tuf, keys=keys, clock=clock, stamp=anchoring.stamp)
    signing = repository if leadership is None else repository.checked(leadership.check)
    blobs = FileBlobs(layout.blobs)
    bus = bus or _mqtt(settings)
    jobs = jobs or coordinator_jobs(layout.directory)
    nodes = nodes or (SuperlinkNodes(settings) if settings.superlink.enabled else None)
    doors = Doors(database=database, broker=open_door(settings, authority), nodes=nodes, clock=clock)
    rollouts = RolloutKeeper(database=led, repository=signing, clock=clock, approved=approved)
    publishing = Publishing(signing, MetadataPublisher(bus, tenant=TenantId(settings.identity.tenant)), bus)
    runs = RunKeeper(
        database=led,
        blobs=blobs,
        jobs=jobs,
        clock=clock,
        directory=layout.runs,
        central=layout.jobs,
        attempts=settings.loop.attempts,
    )
    central = CentralKeeper(
        database=led,
        blobs=blobs,
        jobs=jobs,
        clock=clock,
        directory=layout.jobs,
        runs=layout.runs,
        data=settings.data_directory,
        where=Where(device=settings.jobs.device, precision=settings.jobs.precision),
        attempts=settings.loop.attempts,
    )
    approvers = Approvers(database=database, clock=clock, needed=settings.access.approvals)
    publication = Publication(
        database=led,
        repository=signing,
        keys=keys,
        admission=Admission(
            database=led, keys=keys, clock=clock, tenant=settings.identity.tenant, policy=layout.admission
        ),
        clock=clock,
        approvers=approvers,
    )
    trust = TrustKeeper(database=led, repository=signing, clock=clock)
    retention = Retention(database=led, clock=clock, days=settings.store.keep_days)
    keeper = CertificateKeeper(
        lambda: doors.while_shut(lambda: fit_certificates(settings, authority, at=clock.now())),
        taken_up_by={"certificate of broker": doors.signal, f"certificate of {settings.name}": bus.reopen},
    )
    steps: list[tuple[str, Step]] = [
        ("doors", in_thread(doors.fit)),
        ("certificates", in_thread(Seldom(keeper, clock, settings.loop.renew_s))),
        ("drift", in_thread(DriftKeeper(database=led, clock=clock, fleet=settings.fleet).turn)),
        ("runs", in_thread(runs.turn)),
        ("jobs", in_thread(central.turn)),
        ("rollouts", in_thread(rollouts.turn)),
        ("releases", in_thread(publication.turn)),
        ("retention", in_thread(Seldom(retention.forget, clock, RETENTION_S))),
        ("renewal", in_thread(Seldom(trust.renew, clock, settings.loop.renew_s))),
        ("expiry", in_thread(ExpiryWatch(database=led, repository=signing, clock=clock).turn)),
        ("signing", in_thread(rollouts.sign)),
        ("trust", in_thread(trust.turn)),
        ("audit", in_thread(anchoring.turn)),
        ("metadata", publishing.step),
    ]
    if vault is not None:
        watch = KeyWatch(vault, database=led, clock=clock)
        steps.insert(0, ("keys", in_thread(Seldom(watch.turn, clock, LOOK_S))))
    turn = Turn(steps, term=leadership)
    loop = Loop(turn, every_s=settings.loop.every_s)
    gate = open_gate(
        settings.access, policy=layout.policy, tenant=settings.identity.tenant, database=database, clock=clock
    )
    ingest = Ingest(bus, SqlInbox(database, watch=CloneWatch(on_clone=policy.on_clone)), clock=clock, group=group)

    tracking = open_sink(
        settings.tracking,
        database=led,
        tenant=settings.identity.tenant,
        url=settings.url,
        leads=leadership.lasts if leadership else lambda: True,
    )

    def health() -> dict[str, str]:
        return {
            "broker": "ok" if bus.connected else "not connected",
            "access policy": gate.policy.health,
            **turn.health,
            **({"tracking": tracking.health} if tracking else {}),
            **({"leadership": leadership.health} if leadership else {}),
        }

    sources = Sources(
        database=database,
        clock=clock,
        health=health,
        certificates=lambda: days_left(layout, at=clock.now()),
        ingested=lambda: Ingested(
            batches=ingest.batches,
            commits=ingest.commits,
            poisoned=ingest.poisoned,
            waiting=ingest.waiting,
            commit_s=ingest.commit_s,
            lag_s=ingest.lag_s,
        ),
        broker=lambda: (bus.connected, bus.sessions),
    )
    services = Services(
        database=database,
        gate=gate,
        blobs=blobs,
        clock=clock,
        desk=EnrolmentDesk(
            database=database,
            authority=authority,
            doors=doors,
            clock=clock,
            welcome=_welcome(settings),
            root=lambda: repository.root_bytes,
            fleets=repository.fleets,
            policy=policy,
        ),
        approvers=approvers,
        certificates=lambda: days_left(layout, at=clock.now()),
        tenant=settings.identity.tenant,
        fleet=settings.fleet,
        job_log=lambda row, since: read_log(jobs, central.job(row.id, row.kind), since=since),
        wake=loop.wake,
        witness=lambda: anchoring.witness(repository.signed),
        health=health,
        metrics=lambda: expose(sources),
        budget_approvals=settings.access.budget_approvals,
    )
    return Coordinator(
        settings=settings,
        database=database,
        repository=repository,
        app=create_app(services),
        bus=bus,
        turn=turn,
        loop=loop,
        ingest=ingest,
        chunks=ChunkServer(
            bus, blobs, clock=clock, layouts=SqlLayouts(database), fleets=SqlFleets(database), group=group
        ),
        jobs=jobs,
        tracking=tracking,
        leadership=leadership,
    )


class SuperlinkNodes:
    """The SuperLink's register of nodes, reached for when it is first needed: Flower takes a second to import."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._control: Any = None

    def register_node(self, public_key: bytes) -> int:
        return int(self._client().register_node(public_key))

    def unregister_node(self, node: int) -> None:
        self._client().unregister_node(node)

    def _client(self) -> Any:
        from cloud.training.control import FlowerControl

        with self._lock:
            if self._control is None:
                self._control = FlowerControl(superlink_address(self._settings))
            return self._control


def superlink_address(settings: Settings) -> Any:
    """How our own processes reach the SuperLink."""
    from cloud.training.control import SuperLinkAddress

    return SuperLinkAddress(
        address=settings.superlink_inside,
        ca=settings.layout.ca,
        control_token=control_token(settings),
    )


def _mqtt(settings: Settings) -> Bus:
    layout = settings.layout
    endpoint = Endpoint(
        host=settings.broker.inside or settings.broker.host,
        port=settings.broker.port,
        ca=layout.ca,
        certificate=layout.certificate(settings.name),
        key=layout.key(settings.name),
    )
    return MqttBus(endpoint, identity=settings.name, random=SystemRandom())


def _certificate_policy(settings: Settings) -> CertificatePolicy:
    told = settings.devices
    return CertificatePolicy(
        lifetime_s=told.certificate_days * DAY, rescue_s=told.rescue_days * DAY, on_clone=OnClone(told.on_clone)
    )


def _welcome(settings: Settings) -> Welcome:
    return Welcome(
        url=settings.url,
        tenant=settings.identity.tenant,
        fleet=settings.fleet,
        broker_host=settings.broker.host,
        broker_port=settings.broker.port,
        superlink=settings.superlink_address if settings.superlink.enabled else "",
    )


async def run_until(stop: asyncio.Event, tasks: Mapping[str, Coroutine[Any, Any, None]]) -> None:
    """Run all of `tasks` until `stop` is set or one of them ends.

    Raises:
        BaseException: what ended it, if one of them failed.
    """
    running = {asyncio.create_task(task, name=name) for name, task in tasks.items()}
    waiter = asyncio.create_task(stop.wait(), name="stop")
    try:
        done, _ = await asyncio.wait({*running, waiter}, return_when=asyncio.FIRST_COMPLETED)
        for task in done - {waiter}:
            task.result()
    finally:
        for task in (*running, waiter):
            task.cancel()
        await asyncio.gather(*running, waiter, return_exceptions=True)
