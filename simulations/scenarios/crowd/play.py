"""Two rollouts over thousands of virtual devices: one for everybody, and one that breaks too many in its third wave."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import psutil
from rich.console import Console

from cloud.devices.doors import OBSERVER
from cloud.release.keys import MemoryKeys
from cloud.release.repository import Repository
from edge.link.retained import RetainedFiles
from shared import api
from shared.bundle import Schema
from shared.bus.mqtt import Endpoint, MqttBus
from shared.clock import SystemClock
from shared.errors import FaultError, HinterlandError
from shared.ids import fleet_id, tenant_id
from shared.trust import TrustClient
from simulations.progress import Bar, Narrator
from simulations.report.crowd import keep, summary
from simulations.scenarios.attacks import models
from simulations.scenarios.crowd import plan
from simulations.scenarios.crowd.behaviour import MODEL
from simulations.scenarios.crowd.crowd import Crowd
from simulations.scenarios.crowd.ledger import Ledger, enrol
from simulations.scenarios.crowd.record import Act, CrowdReport, Memory
from simulations.scenarios.crowd.verdict import arrivals_of, breach_of, checks_of, latency_of
from simulations.scenarios.rollout.record import Wave
from simulations.world import leftovers
from simulations.world.ports import LOOPBACK
from simulations.world.world import World

TENANT = tenant_id("demo")
LEAST = 1000
"""With fewer devices the first wave, one in a hundred, compares too few inputs to prove anything."""

TELEMETRY_S = 100.0
"""Between two telemetry windows of a device: 100 batches a second from ten thousand."""

POLL_S = 0.25
ACT_S = 900.0
OVER = ("rollout.done", "rollout.halted")

NOTES = (
    "Devices are virtual: rows in the database, and batches with the same words as an agent's, after delays drawn for "
    "the seed. Coordinator and broker are real processes, and talk over loopback with mutual TLS.",
    "The signed state goes to every device whole, at the 200 MB a second that a broker was measured to send over "
    "mutual TLS: with ten thousand devices the last one hears of a change some twenty seconds after the first.",
    "One session speaks for all devices, so that the broker of this run has no access list.",
    "The latency is the devices': from the publication of a batch, through the broker, the commit and the broker "
    "again, to the acknowledgement. Batches that were sent twice do not count.",
    "Timeline and sizes are read from the database, so that the asking costs the coordinator nothing.",
)


@dataclass(slots=True)
class Story:
    """What one telling needs."""

    world: World
    crowd: Crowd
    ledger: Ledger
    narrator: Narrator
    repository: Repository
    began: float
    acts: list[Act] = field(default_factory=list)
    turns: dict[str, float] = field(default_factory=dict)
    most: int = 0
    """Resident bytes of the coordinator."""

    @property
    def resident(self) -> int:
        """Bytes of the coordinator's process now."""
        pid = self.world.coordinator_pid
        if pid is None:
            raise FaultError("the coordinator ended", hint=f"Its log is in {self.world.logs}.")
        return int(psutil.Process(pid).memory_info().rss)


def play(*, seed: int, devices: int, state: Path, report: Path, port_base: int, console: Console) -> CrowdReport:
    """Tell the story, write the report, stop every process.

    Raises:
        HinterlandError: an act did not come to an end; everything is stopped all the same.
        KeyboardInterrupt: a person stopped it; likewise.
    """
    narrator, count = Narrator(console), max(LEAST, devices)
    directory = (state / "world").absolute()
    with leftovers.sole_use(state):
        began = time.time()
        with _world(directory, port_base, narrator, count) as world:
            told = asyncio.run(_story(world, narrator, seed=seed, devices=count, began=began))
    keep(told, report)
    console.print(summary(told))
    console.print(f"The report is {report / 'crowd.json'}.")
    return told


@contextmanager
def _world(directory: Path, port_base: int, narrator: Narrator, devices: int) -> Iterator[World]:
    world = World(directory, port_base=port_base, crowded=True)
    try:
        with narrator.stage(f"servers: broker, coordinator with {devices} devices", total=1):
            world.build(tenant=TENANT, fleets=(plan.FLEET,))
            enrol(world.layout, plan.sites_of(devices), fleet=plan.FLEET, at=time.time())
            world.start()
        yield world
    finally:
        world.stop()


async def _story(world: World, narrator: Narrator, *, seed: int, devices: int, began: float) -> CrowdReport:
    async with _crowd(world, seed=seed, devices=devices) as crowd:
        scratch = world.directory / "scratch"
        keys = MemoryKeys()
        story = Story(
            world=world,
            crowd=crowd,
            ledger=Ledger(world.layout.database),
            narrator=narrator,
            repository=Repository.create(scratch / "tuf", keys=keys, tenant=TENANT, clock=SystemClock()),
            began=began,
        )
        before = story.resident
        size = story.ledger.size()
        await _act(story, "for everybody", seed=1, compared=False)
        await _act(story, "too many fail", seed=2, compared=True)
        return await _conclude(story, seed=seed, before=before, size=size)


@asynccontextmanager
async def _crowd(world: World, *, seed: int, devices: int) -> AsyncIterator[Crowd]:
    layout = world.layout
    endpoint = Endpoint(
        host=LOOPBACK,
        port=world.ports[1],
        ca=layout.ca,
        certificate=layout.certificate(OBSERVER),
        key=layout.key(OBSERVER),
    )
    bus = MqttBus(endpoint, identity=OBSERVER, random=Random(seed))  # noqa: S311  back-off
    fleet = fleet_id(plan.FLEET)
    files = RetainedFiles(bus, tenant=TENANT, fleet=fleet)
    root = Repository.open(layout.tuf, keys=MemoryKeys(), clock=SystemClock()).root_bytes
    crowd = Crowd(
        list(plan.sites_of(devices)),
        bus=bus,
        files=files,
        trust=TrustClient(world.directory / "trust", root=root, source=files, clock=SystemClock()),
        fleet=fleet,
        telemetry_s=TELEMETRY_S,
        seed=seed,
    )
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work, name=name) for name, work in (("bus", bus.run()), ("crowd", crowd.run()))]
            yield crowd
            for task in tasks:
                task.cancel()
    except* HinterlandError as errors:
        raise _first(errors) from errors


def _first(errors: BaseExceptionGroup[HinterlandError]) -> HinterlandError:
    """One of them, which is what a person can act on."""
    error = errors.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


async def _act(story: Story, name: str, *, seed: int, compared: bool) -> None:
    client, crowd = story.world.client, story.crowd
    began, first = time.time(), len(crowd.answered)
    data = models.honest(seed)
    release = await asyncio.to_thread(
        lambda: client.import_release(
            MODEL,
            schema=Schema(kind="classification", labels=["low", "high"], input_shape=models.SHAPE),
            files=[("cpu.onnx", data, "fp32")],
        )
    )
    applied = await asyncio.to_thread(client.apply_rollout, plan.document(release.id, compared=compared))
    if compared:
        crowd.failing = {release.id: plan.failing(applied.waves, seed=seed)}
    with story.narrator.stage(f"{release.id}: {name}", total=len(crowd.devices)) as bar:
        await _until(story, f"the end of {applied.rollout}", lambda: _over(story, applied, bar), within_s=ACT_S)
        await _until(story, f"peace after {applied.rollout}", lambda: _quiet(crowd), within_s=ACT_S)
    seen = await asyncio.to_thread(client.rollout, applied.rollout)
    story.acts.append(
        Act(
            name=name,
            release=release.id,
            rollout=applied.rollout,
            state=seen.state,
            reason=seen.reason,
            fallback=seen.fallback,
            began_s=began - story.began,
            ended_s=time.time() - story.began,
            waves=[_wave(wave) for wave in seen.progress],
            latency=latency_of(crowd.answered[first:]),
            arrivals=arrivals_of(crowd.answered[first:]),
        )
    )


async def _quiet(crowd: Crowd) -> bool:
    return crowd.quiet  # here, in the loop that changes what it looks at


async def _over(story: Story, applied: api.Applied, bar: Bar) -> bool:
    return await asyncio.to_thread(_look, story, applied, bar)


def _look(story: Story, applied: api.Applied, bar: Bar) -> bool:
    """Whether the rollout has ended; what a turn of the keeper costs in its third wave is measured on the way."""
    mine = [event for event in story.ledger.events() if event.subject == applied.rollout]
    asked = sum(len(event.data["devices"]) for event in mine if event.kind == "rollout.wave")
    here = [event for event in mine if event.kind in ("rollout.shadow", "rollout.open")]
    if here and here[-1].data["wave"] == plan.THIRD:
        moment = f"{applied.rollout}, {here[-1].kind.removeprefix('rollout.')}"
        if moment not in story.turns:
            story.turns[moment] = story.ledger.turn_ms(story.world.directory / "scratch", story.repository)
    bar.update(asked, text=f"{applied.rollout}: {mine[-1].kind.removeprefix('rollout.') if mine else 'ordered'}")
    return any(event.kind in OVER for event in mine)


async def _until(story: Story, what: str, done: Callable[[], Awaitable[bool]], *, within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while not await done():
        story.world.check()
        story.most = max(story.most, story.resident)
        if time.monotonic() > deadline:
            raise FaultError(f"{what} did not happen within {within_s:.0f} s", hint=f"See {story.world.logs}.")
        await asyncio.sleep(POLL_S)


async def _conclude(story: Story, *, seed: int, before: int, size: int) -> CrowdReport:
    crowd, ledger, (first, second) = story.crowd, story.ledger, story.acts
    count = len(crowd.devices)
    seen = await asyncio.to_thread(story.world.client.rollout, second.rollout)
    failing = len(crowd.failing[second.release])
    breach = breach_of(
        ledger.events(rollouts_only=False),
        rollout=second.rollout,
        release=second.release,
        waves=seen.waves,
        failing=failing,
    )
    latency, largest = latency_of(crowd.answered), max(crowd.wanted, key=lambda wanted: wanted.size)
    return CrowdReport(
        scenario="rollout",
        seed=seed,
        seconds=time.time() - story.began,
        devices=count,
        sites=len(set(plan.sites_of(count).values())),
        acts=story.acts,
        breach=breach,
        latency=latency,
        arrivals=arrivals_of(crowd.answered),
        memory=Memory(
            before_mib=before / 2**20,
            most_mib=story.most / 2**20,
            per_device_kib=(story.most - before) / 1024 / count,
            database_kib=(ledger.size() - size) / 1024 / count,
            desired_versions=len(crowd.wanted),
            desired_most_kib=largest.size / 1024,
            desired_bytes=largest.size / max(1, largest.devices),
        ),
        keeper_turn_ms=story.turns,
        resent=crowd.again,
        late=crowd.late,
        checks=checks_of(
            devices=count,
            states=[first.state, second.state],
            reached=sum(wave.active for wave in first.waves),
            breach=breach,
            latency=latency,
            serving=ledger.serving(),
            promoted=[first.release, second.fallback],
            unanswered=crowd.unanswered,
        ),
        notes=list(NOTES),
    )


def _wave(wave: api.RolloutWave) -> Wave:
    return Wave(
        devices=wave.devices,
        asked=wave.asked,
        active=wave.active,
        failed=wave.failed,
        compared=wave.compared,
        gates=wave.gates,
    )
