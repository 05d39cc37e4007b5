"""One function wires an agent; tests and simulations override its parts."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from random import Random, SystemRandom

from edge import settings as conf
from edge.agent import Agent
from edge.drift.writer import ReferenceWriter
from edge.facts import Facts, LinuxFacts
from edge.identity import Identity, KnownTime, Rotation
from edge.inference.host import ModelHost
from edge.inference.isolated import IsolatedSession
from edge.inference.process import Isolation
from edge.inference.runtime import Load
from edge.inference.ways import Ways, find_ways
from edge.inference.worker import load_here
from edge.link.endpoint import endpoint_of
from edge.link.outbox import Outbox
from edge.link.retained import RetainedFiles
from edge.link.speaker import Speaker
from edge.link.uplink import Uplink
from edge.operate.sparing import Sparing
from edge.operate.systemd import Notifier
from edge.operate.throttle import Limits, Throttle
from edge.pipelines.making import PipelineMaker
from edge.pipelines.scene.policy import MaskKeeper
from edge.pipelines.state import State
from edge.relay.address import Address
from edge.relay.neighbours import Relays, Site
from edge.relay.passport import Passport
from edge.relay.server import Relay
from edge.relay.shelf import Shelf
from edge.serving.service import make_serving
from edge.training.child import TrainerChild
from edge.training.dataset import DatasetStore
from edge.training.labels import LabelInbox
from edge.update.journal import Journal
from edge.update.obstacles import Policy
from edge.update.parts import Parts
from edge.update.preflight import Preflight
from edge.update.reconcile import Reconciler
from edge.update.scrub import Scrub
from edge.update.trust import Trust
from shared.bundle import Runtime
from shared.bus import Bus
from shared.bus.mqtt import MqttBus
from shared.clock import Clock, SystemClock
from shared.messages import UpdateStatus
from shared.topics import Up
from shared.trust import TrustClient

log = logging.getLogger(__name__)

RUNTIMES = (Runtime.ONNXRUNTIME,)
"""What every agent can execute."""

CHALLENGER_NICE = 10
"""Of a challenger's process: the champion's, which has 0, gets nine times its processor time where both want it."""


def build(
    settings: conf.Settings,
    identity: Identity,
    *,
    config: Path,
    bus: Bus | None = None,
    clock: Clock | None = None,
    random: Random | None = None,
    facts: Facts | None = None,
    notifier: Notifier | None = None,
) -> Agent:
    """Make the agent of one device.

    Args:
        settings: the checked settings file.
        identity: who this device is.
        config: path of that file, which the trainer reads again in its own process.
        bus: another carrier than MQTT.
        clock: another clock than the machine's.
        random: for back-off and record ids.
        facts: about another machine than this one.
        notifier: who is told that the agent is ready and alive; nobody by default.

    Raises:
        FaultError: the disk does not take the agent's state.
        RefusedError: an address of a relay is none.
    """
    clock = clock or SystemClock()
    random = random or SystemRandom()
    facts = facts or LinuxFacts()
    known = KnownTime(clock, identity.authority_file, identity.certificate_file)
    bus = bus or MqttBus(endpoint_of(identity, now=known), identity=identity.device, random=random)
    outbox = Outbox.open(settings.state / "outbox", cap=settings.reporting.outbox_mib << 20, clock=clock, random=random)
    uplink = Uplink(bus, outbox, device=identity.device, clock=clock)
    speaker = Speaker(outbox)
    files = RetainedFiles(bus, tenant=identity.tenant, fleet=identity.fleet, clock=clock)
    ways = ways_of(settings, facts)
    host = ModelHost(
        _loads(settings.inference, ways, clock, random),
        challenge=_loads(settings.inference, ways, clock, random, nice=CHALLENGER_NICE),
    )
    store = DatasetStore(settings.data)

    shelf = Shelf(settings.state / "models", clock=clock) if settings.relay.listen else None
    passport = Passport(identity, now=known)

    async def report(status: UpdateStatus) -> None:
        await uplink.say(Up.UPDATE, status)

    masks = MaskKeeper(settings.state / "policy" / "masks", device=identity.device)
    updates = Parts(
        device=identity.device,
        models=settings.state / "models",
        bus=bus,
        trust=Trust(
            TrustClient(settings.state / "trust", root=identity.root, source=files, clock=clock),
            fleet=identity.fleet,
            hardware=settings.agent.hardware,
            runtimes=ways.runtimes,
            unexecuted=settings.inference.unexecuted,
            lacking=ways.lacking,
            again=files.again,
        ),
        journal=Journal(settings.state / "journal.json"),
        serving=host,
        report=report,
        clock=clock,
        random=random,
        preflight=Preflight(facts, _policy(settings, ways), models=settings.state / "models", clock=clock),
        masks=masks.accept,
        neighbours=Site(shelf=shelf, relays=_relays(settings, passport, clock)),
    )
    reconciler = Reconciler(updates)
    reference = ReferenceWriter(host=host, store=store, emit=speaker, clock=clock, settings=settings)
    maker = PipelineMaker(
        settings=settings,
        host=host,
        speaker=speaker,
        store=store,
        clock=clock,
        random=random,
        reference=reference,
        facts=facts,
        masks=masks,
    )
    pipelines = [maker.make(wanted) for wanted in settings.pipelines]
    serving = make_serving(
        settings,
        identity=identity,
        passport=passport,
        host=host,
        emit=speaker,
        clock=clock,
        pipelines_run=lambda: any(each.state is State.RUNNING for each in pipelines),
    )
    limits = Limits(hot_c=settings.sparing.hot_c or None, charge=settings.sparing.charge)
    return Agent(
        identity=identity,
        settings=settings,
        bus=bus,
        host=host,
        outbox=outbox,
        uplink=uplink,
        speaker=speaker,
        files=files,
        updates=reconciler,
        scrub=Scrub(updates, reconciler),
        relay=Relay(shelf, listen=Address.parse(settings.relay.listen), passport=passport) if shelf else None,
        pipelines=pipelines,
        sparing=Sparing(Throttle(limits), facts, pipelines, clock=clock),
        serving=serving,
        store=store,
        labels=LabelInbox(settings.state / "labels"),
        reference=reference,
        trainer=_trainer(settings, identity, config, random),
        rotation=Rotation(identity, bus=bus, clock=clock, now=known, random=random),
        facts=facts,
        clock=clock,
        notifier=notifier or Notifier(),
    )


def _relays(settings: conf.Settings, passport: Passport, clock: Clock) -> Relays | None:
    """Whom this device asks before its coordinator."""
    relays = [Address.parse(each) for each in settings.relay.sources]
    return Relays(relays, passport=passport, clock=clock) if relays else None


def _policy(settings: conf.Settings, ways: Ways) -> Policy:
    """When this device's owner lets updates begin."""
    return Policy(
        hardware=frozenset(settings.agent.hardware),
        runtimes=frozenset(ways.runtimes),
        metered=settings.link.metered,
        over_metered=settings.update.over_metered,
        least_charge=settings.update.least_charge,
        hours=tuple(settings.update.hours),
    )


def ways_of(settings: conf.Settings, facts: Facts) -> Ways:
    """How models may be executed on this device; what its owner prefers and it has not is said once here."""
    ways = find_ways(settings.inference.runtimes, hardware=settings.agent.hardware, version=facts.version)
    for reason in ways.lacking.values():
        log.warning("%s; models run on %s", reason, ", ".join(ways.runtimes))
    return ways


def _loads(
    settings: conf.InferenceSettings, ways: Ways, clock: Clock, random: Random, *, nice: int = 0
) -> dict[Runtime, Load]:
    """What loads models, by runtime; `nice` is the priority of their processes."""
    if settings.isolation == "none":
        log.warning("models run in the agent itself, with all its rights")
    return {runtime: _load(settings, runtime, clock, random, nice) for runtime in ways.runtimes}


def _load(settings: conf.InferenceSettings, runtime: Runtime, clock: Clock, random: Random, nice: int) -> Load:
    if settings.isolation == "none":
        return load_here(runtime, threads=settings.threads)
    isolation = Isolation(
        memory_mib=settings.memory_mib,
        threads=settings.threads,
        load_s=settings.load_s,
        answer_s=settings.answer_s,
        nice=nice,
        cpus=tuple(settings.cpus),
        user=settings.user,
        runtime=runtime,
    )
    return IsolatedSession.loader(isolation, clock=clock, random=random)


def _trainer(settings: conf.Settings, identity: Identity, config: Path, random: Random) -> TrainerChild | None:
    if not settings.training.enabled or not identity.superlink:
        return None
    return TrainerChild([sys.executable, "-m", "edge.main", "trainer", "--config", str(config)], random=random)
