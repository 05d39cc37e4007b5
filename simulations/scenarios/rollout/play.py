"""Seven rollouts in a row over one fleet: two that should reach everybody, and five that must not."""

from __future__ import annotations

import sqlite3
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from fleet.client import Client
from shared import api
from shared.bundle import Schema
from shared.tasks import adapter
from simulations.images import fashion_test, fashion_training
from simulations.packages import Data
from simulations.progress import Bar, Narrator
from simulations.report.rollout import keep, summary
from simulations.scenarios.rollout import record, timeline
from simulations.scenarios.rollout.acts import ACTS, Act, document
from simulations.scenarios.rollout.cast import FLEET, MODEL, TASK, TELEMETRY_S, Cast, spec_of, write_cast
from simulations.scenarios.rollout.releases import Made, make_releases
from simulations.scenarios.rollout.verdict import answered, at_the_end, checks_of, serves
from simulations.scenarios.waiting import Watch
from simulations.world import leftovers
from simulations.world.agents import write_settings
from simulations.world.process import Process
from simulations.world.world import World

DEVICES = 40
HOSTS = 4
DRAIN_S = 60.0
OVER = ("done", "halted", "superseded")
ACT_S = 1500.0
"""Far above what an act takes; how long it took is the report's word."""

PATIENCE_S = 600.0

NOTES = (
    "Labels come from a simulated operator who knows the truth of the pictures; a label lies in the device's inbox at "
    "least three seconds after the picture was classified.",
    "Pictures are Fashion-MNIST's test set, of which each device replays a sample of its own. The worse release is the "
    "good one with seeded noise on its weights.",
    "Ten agents share a process, to spare memory. Each has its own identity, session, outbox and slots, and each of "
    "their models a process of its own.",
    "All processes share one machine and talk over loopback with mutual TLS.",
)


@dataclass(slots=True)
class Story:
    """What one telling needs, and what has been seen so far."""

    world: World
    cast: Cast
    made: Mapping[str, Made]
    began: float
    narrator: Narrator
    promoted: set[str] = field(default_factory=set)
    """Releases that a rollout has brought, or brought back, to devices for good."""

    good: str = ""
    """The release that should be everywhere at the end."""

    acts: list[record.Act] = field(default_factory=list)

    @property
    def watch(self) -> Watch:
        """Waiting, with nobody at work: operators do nothing in this story."""
        return Watch(world=self.world, between=lambda: None)


def play(
    data: Data, *, state: Path, report: Path, seed: int, port_base: int, console: Console, devices: int = DEVICES
) -> record.RolloutReport:
    """Tell the whole story, write the report, stop every process.

    Raises:
        HinterlandError: an act did not come to an end; everything is stopped all the same.
        KeyboardInterrupt: a person stopped it; likewise.
    """
    narrator = Narrator(console)
    directory = (state / "world").absolute()
    with leftovers.sole_use(state):
        began = time.time()
        with narrator.stage("models: trained, made worse, trapped", total=1):
            live = fashion_test(data.fashion)
            made = make_releases(fashion_training(data.fashion), live, seed=seed)
        with _world(directory, port_base, narrator) as world:
            with narrator.stage("devices enrol", total=devices) as bar:
                cast = write_cast(live, directory / "cast", devices=devices, seed=seed)
                story = Story(world=world, cast=cast, made=made, began=began, narrator=narrator)
                _enrol(story, bar)
            for act in ACTS:
                story.acts.append(_act(story, act))
            told = _conclude(story, seed=seed)
    keep(told, report)
    console.print(summary(told))
    console.print(f"The report is {report / 'rollout.html'}.")
    return told


@contextmanager
def _world(directory: Path, port_base: int, narrator: Narrator) -> Iterator[World]:
    world = World(directory, port_base=port_base)
    try:
        with narrator.stage("servers: broker, coordinator, SuperLink", total=1):
            world.build(tenant="demo", fleets=(FLEET,))
            world.start()
        yield world
    finally:
        world.stop()


def _enrol(story: Story, bar: Bar) -> None:
    world, cameras = story.world, story.cast.cameras
    homes = world.directory / "devices"
    configs = []
    for camera in cameras:
        token = world.client.create_token(device=camera.device, fleet=FLEET, labels={"site": camera.site}).token
        configs.append(str(write_settings(spec_of(camera, homes), token=token)))
    for number in range(HOSTS):
        argv = [sys.executable, "-m", "simulations.scenarios.rollout.host", *configs[number::HOSTS]]
        env = {"OMP_NUM_THREADS": "1"}
        world.start_host(Process(f"host-{number + 1}", argv, logs=world.logs, env=env, grace_s=DRAIN_S))

    def enrolled() -> bool:
        there = len(world.client.devices())
        bar.update(there)
        return there == len(cameras)

    story.watch.until("enrolment of every device", enrolled, within_s=PATIENCE_S)


def _act(story: Story, act: Act) -> record.Act:
    client, made = story.world.client, story.made[act.made]
    before, began, after = client.telemetry().inference, time.time(), _newest(client)
    release = client.import_release(
        MODEL,
        schema=_schema(),
        files=[("fp32.onnx", made.data, "fp32")],
        evaluation={"accuracy.fp32": made.accuracy},
        reason=act.words,
    )
    rollout = client.apply_rollout(document(act, release.id, story.cast), reason=act.words).rollout
    looks: list[record.Look] = []
    with story.narrator.stage(f"{act.name}: {act.words}") as bar:
        story.watch.until(f"the end of {rollout}", lambda: _over(story, act, rollout, looks, bar), within_s=ACT_S)
        _settle(story, act, rollout)
    time.sleep(TELEMETRY_S)  # the last window of the act
    return _record(story, act, client.rollout(rollout), looks, before=before, began=began, after=after)


def _over(story: Story, act: Act, rollout: str, looks: list[record.Look], bar: Bar) -> bool:
    seen = story.world.client.rollout(rollout)
    if act.good:
        bar.update(sum(wave.active for wave in seen.progress), len(story.cast.cameras), text=_line(act, seen))
    else:
        bar.update(0, 1, text=_line(act, seen))
    if seen.state == "shadowing":
        looks += _looks(seen, seen.wave, at=time.time() - story.began)
    return seen.state in OVER


def _looks(seen: api.Rollout, wave: int, *, at: float) -> list[record.Look]:
    """How the comparison of a wave stands, or ended."""
    if not 0 <= wave < len(seen.progress):
        return []
    return [
        record.Look(
            at_s=at, wave=wave, inputs=gate.inputs, not_worse=gate.not_worse, worse=gate.worse, needed=gate.needed
        )
        for gate in seen.progress[wave].gates
        if gate.gate == "accuracy"
    ]


def _line(act: Act, seen: api.Rollout) -> str:
    return f"{seen.release} ({act.name}): {seen.state}, wave {seen.wave + 1} of {len(seen.progress)}"


def _settle(story: Story, act: Act, rollout: str) -> None:
    """Wait until every device is back at, or has come to, a promoted release."""
    seen = story.world.client.rollout(rollout)
    if seen.state == "done":
        story.promoted.add(seen.release)
        story.good = seen.release
    elif seen.fallback:
        story.promoted.add(seen.fallback)
    rejected = seen.release if seen.state == "halted" else ""

    def settled() -> bool:
        devices = story.world.client.devices()
        mine = [each for device in devices for each in device.models if each.model == MODEL]
        return all(
            each.serving in story.promoted
            and each.serving == each.desired
            and not (each.release == rejected and each.stage in ("shadow", "trial", "active"))
            for each in mine
        )

    story.watch.until(f"peace after {act.name}", settled, within_s=PATIENCE_S)


def _record(
    story: Story,
    act: Act,
    seen: api.Rollout,
    looks: list[record.Look],
    *,
    before: Sequence[api.InferenceView],
    began: float,
    after: int,
) -> record.Act:
    client, cast = story.world.client, story.cast
    events = _events(client, after=after)
    for wave, at in timeline.decided(events, seen.id).items():
        looks += _looks(seen, wave, at=at - story.began)
    counts = answered(before, client.telemetry().inference, releases=story.promoted)
    made = record.Act(
        name=act.name,
        words=act.words,
        release=seen.release,
        rollout=seen.id,
        accuracy=story.made[act.made].accuracy,
        expected=act.ends,
        state=seen.state,
        reason=seen.reason,
        fallback=seen.fallback,
        began_s=began - story.began,
        ended_s=time.time() - story.began,
        waves=[
            record.Wave(
                devices=wave.devices,
                asked=wave.asked,
                active=wave.active,
                failed=wave.failed,
                compared=wave.compared,
                gates=wave.gates,
            )
            for wave in seen.progress
        ],
        reached=timeline.reached(events, seen.release),
        busiest=timeline.busiest(events, rollout=seen.id, release=seen.release, sites=cast.sites),
        champion_inputs=sum(done for done, _ in counts.values()),
        champion_errors=sum(wrong for _, wrong in counts.values()),
        idle=[camera.device for camera in cast.cameras if counts.get(camera.device, (0, 0))[0] <= 0],
        stages=timeline.stages(events, seen.release, began=story.began),
        looks=looks,
        checks=[],
    )
    names = [camera.device for camera in cast.cameras]
    made.checks.extend(checks_of(act, made, devices=names, canaries=cast.canaries))
    return made


def _conclude(story: Story, *, seed: int) -> record.RolloutReport:
    with story.narrator.stage("agents drain and stop", total=1):
        story.world.stop_agents()
    client = story.world.client
    homes = story.world.directory / "devices"
    devices = [camera.device for camera in story.cast.cameras]
    checks = at_the_end(
        served=serves(client.devices(), MODEL),
        digests={release.id: release.variants[0].digest for release in client.releases()},
        good=story.good,
        devices=len(devices),
        delivery=client.telemetry().total,
        written=sum(_records_written(homes / device) for device in devices),
    )
    return record.RolloutReport(
        scenario="rollout",
        seed=seed,
        seconds=time.time() - story.began,
        devices=len(devices),
        sites=story.cast.sites,
        canaries=story.cast.canaries,
        acts=story.acts,
        checks=checks,
        notes=list(NOTES),
    )


def _records_written(device: Path) -> int:
    """What the device's own outbox says it wrote, whatever the coordinator thinks."""
    with sqlite3.connect(f"file:{device / 'outbox' / 'outbox.sqlite'}?mode=ro", uri=True) as outbox:
        return int(outbox.execute("SELECT coalesce(sum(last), 0) FROM channel").fetchone()[0])


def _newest(client: Client) -> int:
    return max((event.id for event in _events(client, after=0)), default=0)


def _events(client: Client, *, after: int) -> list[api.Event]:
    """The whole timeline after an event, page by page."""
    events: list[api.Event] = []
    while page := client.events(after=after, limit=1_000):
        events += page
        after = page[-1].id
    return events


def _schema() -> Schema:
    family = adapter(TASK)
    return Schema(kind="classification", labels=list(family.labels), input_shape=list(family.input_shape))
