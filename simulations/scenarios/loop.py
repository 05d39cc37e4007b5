"""The loop, once around: train, optimise, sign, roll out, infer, drift, retrain, roll out again.

Each stage only begins what an operator would, waits until the coordinator reports it, and keeps that report as
evidence. Nothing here reaches into a process: devices get files, the coordinator gets API calls.
"""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from rich.console import Console

from shared import api
from shared.errors import FaultError
from simulations.packages import Data
from simulations.progress import Bar, Narrator
from simulations.report import page, table
from simulations.report.record import LoopReport
from simulations.scenarios import lines
from simulations.scenarios.cast import CAMERA, GATES, LABELLED, SHIFTED, WARDS, WATCHES, Cast, write_cast
from simulations.scenarios.evidence import Evidence
from simulations.scenarios.operator import Labeller, label_all
from simulations.scenarios.verdict import Seen, compose
from simulations.scenarios.waiting import Watch
from simulations.world import leftovers
from simulations.world.agents import AgentSpec, Replay, Video
from simulations.world.world import World

SENSOR, PICTURES, STREET = "wrist", "shop", "street"
"""Names of the pipelines."""

RATE = 10.0
"""Windows a second and watch: ten times as fast as they were recorded, one window a second."""

FPS = 2.0
TELEMETRY_S, DRIFT_INPUTS = 2.0, 50
AFTER_WINDOWS = 150
"""Labelled windows of the shifted devices, answered by the new release, on which the last figure rests."""

PATIENCE_S = 600.0
"""Far above what a stage takes; how long it took is the report's word."""


@dataclass(slots=True)
class Story:
    """What one telling needs, and what has been seen so far."""

    world: World
    cast: Cast
    data: Data
    seed: int
    began: float
    narrator: Narrator
    labellers: dict[str, Labeller] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    telemetry: api.TelemetrySummary | None = None
    looked: float = 0.0
    """When the telemetry was last read, Unix seconds."""

    @property
    def watch(self) -> Watch:
        """Waiting, with the operator at work."""
        return Watch(world=self.world, between=self.operate)

    def note(self, name: str, evidence: str) -> None:
        """Keep a stage as observed."""
        self.seen.append(Seen(name=name, at=time.time(), evidence=evidence))

    def operate(self) -> None:
        """Read the devices' telemetry, and label what is due; no more often than devices report."""
        if self.telemetry is not None and time.time() - self.looked < TELEMETRY_S:
            return
        self.telemetry, self.looked = self.world.client.telemetry(), time.time()
        summary = self.telemetry
        inferred: Counter[str] = Counter()
        for view in summary.inference:
            if view.pipeline == SENSOR:
                inferred[view.device] += view.processed + view.errors
        label_all(self.labellers, inferred, at=self.looked)


def play(data: Data, *, state: Path, report: Path, seed: int, port_base: int, console: Console) -> LoopReport:
    """Tell the whole story, write the report, stop every process.

    Raises:
        HinterlandError: a stage could not be reached; everything is stopped all the same.
        KeyboardInterrupt: a person stopped it; likewise.
    """
    narrator = Narrator(console)
    world_dir = (state / "world").absolute()
    with leftovers.sole_use(state):
        began = time.time()
        with _world(world_dir, port_base, narrator) as world:
            cast = write_cast(data, world_dir / "cast", seed=seed)
            story = Story(world=world, cast=cast, data=data, seed=seed, began=began, narrator=narrator)
            for stage in STAGES:
                stage(story)
            record = _conclude(story)
    _write(record, report, picture=world_dir / "snapshot.jpg")
    console.print(table.summary(record))
    console.print(f"The report is {report / 'index.html'}.")
    return record


@contextmanager
def _world(directory: Path, port_base: int, narrator: Narrator) -> Iterator[World]:
    world = World(directory, port_base=port_base)
    try:
        with narrator.stage("servers: broker, coordinator, SuperLink", total=1):
            world.build(tenant="demo", fleets=(WARDS, GATES))
            world.start()
        yield world
    finally:
        world.stop()


def _enrol(story: Story) -> None:
    with story.narrator.stage("devices enrol", total=len(WATCHES) + 1) as bar:
        for device in (*WATCHES, CAMERA):
            story.world.start_agent(_spec(story, device), fleet=GATES if device == CAMERA else WARDS)
        for device in WATCHES:
            stream = story.cast.streams[device]
            inbox = story.world.directory / device / "labels"
            story.labellers[device] = Labeller(stream=stream, pipeline=SENSOR, task=lines.ACTIVITY, inbox=inbox)

        def enrolled() -> bool:
            devices = story.world.client.devices()
            bar.update(len(devices))
            return len(devices) == len(WATCHES) + 1 and all(device.node for device in devices)

        story.watch.until("enrolment of every device", enrolled, within_s=PATIENCE_S)
    story.note("enrolled", f"{len(WATCHES) + 1} devices hold certificates of the coordinator's authority")


def _import_detector(story: Story) -> None:
    client = story.world.client
    detector = lines.detector()
    activity, fashion = lines.activity(seed=story.seed, labels=story.cast.labels), lines.fashion(seed=story.seed)
    for document in lines.documents(activity, fashion, detector):
        client.apply_model(document)
    files = [
        ("cpu-fp32.onnx", story.data.detector_fp32.read_bytes(), "fp32"),
        ("cpu-int8.onnx", story.data.detector_int8.read_bytes(), "int8"),
    ]
    client.import_release(
        lines.DETECTION,
        schema=detector.schema,
        files=files,
        evaluation=story.data.detector_evaluation,
        reason="COCO detector converted from its npm package",
    )


def _train(story: Story) -> None:
    run = story.world.client.start_run(api.RunRequest(model=lines.ACTIVITY, reason="first model of the fleet"))
    done = _follow_run(story, run.id, label="federated run 1: activity", rounds=5)
    _note_run(story, done, "trained", "judged")


def _roll_out(story: Story) -> None:
    _follow_rollout(story, f"{lines.ACTIVITY}-1", "signed", "published", "activated")


def _infer(story: Story) -> None:
    wanted = 2 * len(WATCHES) * DRIFT_INPUTS

    def counted(bar: Bar) -> bool:
        assert story.telemetry is not None  # noqa: S101  `operate` has just read it
        windows = sum(v.processed for v in story.telemetry.inference if v.pipeline == SENSOR)
        frames = sum(v.processed for v in story.telemetry.inference if v.pipeline == STREET)
        bar.update(min(windows, wanted), wanted)
        return windows >= wanted and frames > 0

    with story.narrator.stage("devices infer", total=wanted) as bar:
        story.watch.until("inference on sensors and camera", lambda: counted(bar), within_s=PATIENCE_S)
    story.note("inferred", f"more than {wanted} windows, and the camera's frames")


def _drift(story: Story) -> None:
    def alarmed(bar: Bar) -> bool:
        alarms = set(story.world.client.drift().alarms.get(lines.ACTIVITY, [])) & set(SHIFTED)
        bar.update(len(alarms))
        return alarms == set(SHIFTED)

    with story.narrator.stage("two watches change their wearer: drift", total=len(SHIFTED)) as bar:
        story.watch.until("an alarm for each shifted device", lambda: alarmed(bar), within_s=PATIENCE_S)
    story.note("drifted", f"the coordinator raised an alarm for {', '.join(sorted(SHIFTED))}")


def _retrain(story: Story) -> None:
    name = f"{lines.ACTIVITY}-run-2"

    def ordered(bar: Bar) -> bool:
        held = [d.models for d in story.world.client.devices() if d.id in SHIFTED]
        bar.update(len(held))
        return any(run.id == name for run in story.world.client.runs())

    with story.narrator.stage("labels come in, the coordinator orders a run", total=len(SHIFTED)) as bar:
        story.watch.until("a run ordered by drift", lambda: ordered(bar), within_s=PATIENCE_S)
    done = _follow_run(story, name, label="federated run 2: with the shifted devices' labels", rounds=4)
    if done.cause != "drift":
        raise FaultError(f"{name} was not started by drift but by {done.cause}")
    _note_run(story, done, "retrained")


def _recover(story: Story) -> None:
    release = f"{lines.ACTIVITY}-2"
    _follow_rollout(story, release, "re-released")

    def labelled(bar: Bar) -> bool:
        assert story.telemetry is not None  # noqa: S101  `operate` has just read it
        points = [p for p in story.telemetry.accuracy if p.release == release and p.device in SHIFTED]
        count = sum(p.labelled for p in points)
        bar.update(min(count, AFTER_WINDOWS))
        return count >= AFTER_WINDOWS

    with story.narrator.stage("the shifted devices under the new release", total=AFTER_WINDOWS) as bar:
        story.watch.until("labelled windows under the new release", lambda: labelled(bar), within_s=PATIENCE_S)


def _begin_second_family(story: Story) -> None:
    """Its clients train while the watches go on inferring."""
    request = api.RunRequest(model=lines.FASHION, reason="second model family", devices=[*WATCHES, CAMERA])
    story.world.client.start_run(request)


def _finish_second_family(story: Story) -> None:
    done = _follow_run(story, f"{lines.FASHION}-run-1", label="federated run: Fashion-MNIST", rounds=2)
    _note_run(story, done, "second family trained")
    _follow_rollout(story, f"{lines.FASHION}-1", "second family activated")


def _conclude(story: Story) -> LoopReport:
    with story.narrator.stage("agents drain and stop", total=1):
        story.world.stop_agents()
    client = story.world.client
    evidence = Evidence(
        devices=client.devices(),
        runs=[client.run(run.id) for run in client.runs()],
        releases=client.releases(),
        rollouts=[client.rollout(way.id) for way in client.rollouts()],
        drift=client.drift(),
        telemetry=client.telemetry(),
        events=client.events(limit=5000),
        began=story.began,
    )
    written = sum(_records_written(story.world.directory / device) for device in (*WATCHES, CAMERA))
    shifts = [
        story.labellers[device].last_before(story.cast.streams[device].phases.index(LABELLED)) for device in SHIFTED
    ]
    return compose(
        evidence,
        story.seen,
        seed=story.seed,
        written=written,
        shifted=min((at for at in shifts if at is not None), default=story.began),
        ended=time.time(),
    )


def _records_written(device: Path) -> int:
    """What the device's own outbox says it wrote, whatever the coordinator thinks."""
    with sqlite3.connect(f"file:{device / 'outbox' / 'outbox.sqlite'}?mode=ro", uri=True) as outbox:
        return int(outbox.execute("SELECT coalesce(sum(last), 0) FROM channel").fetchone()[0])


def _follow_run(story: Story, run_id: str, *, label: str, rounds: int) -> api.Run:
    client = story.world.client

    def over(bar: Bar) -> bool:
        run = client.run(run_id)
        if run.state in ("failed", "rejected"):
            raise FaultError(f"{run_id} {run.state}: {run.reason or run.result.get('summary', '')}")
        bar.update(len(run.rounds), rounds)
        return run.state == "released"

    with story.narrator.stage(label, total=rounds) as bar:
        story.watch.until(f"the end of {run_id}", lambda: over(bar), within_s=PATIENCE_S)
    return client.run(run_id)


def _note_run(story: Story, run: api.Run, *names: str) -> None:
    evidence = f"{run.id}: {len(run.rounds)} rounds, {run.result.get('summary', '')}"
    for name in names:
        story.note(name, evidence)


def _follow_rollout(story: Story, release: str, *names: str) -> None:
    client = story.world.client

    def over(bar: Bar) -> bool:
        ways = [way for way in client.rollouts() if way.release == release]
        for way in ways:
            if way.state in ("halted", "superseded"):
                raise FaultError(f"the rollout of {release} was {way.state}: {way.reason}")
        waves = [wave for way in ways for wave in way.progress]
        bar.update(sum(wave.active for wave in waves), sum(wave.devices for wave in waves) or None)
        return bool(ways) and all(way.state == "done" for way in ways)

    with story.narrator.stage(f"rollout of {release}: canary, then the rest") as bar:
        story.watch.until(f"the rollout of {release}", lambda: over(bar), within_s=PATIENCE_S)
    signed = client.release(release)
    keys = ", ".join(key[:12] for key in signed.signers)
    for name in names:
        story.note(name, f"{release}, manifest {signed.digest[:12]}, signed by key {keys}")


def _spec(story: Story, device: str) -> AgentSpec:
    state = story.world.directory / device
    data = story.cast.directories[device]
    if device == CAMERA:
        pipelines: list[Replay | Video] = [
            Video(
                name=STREET,
                model=lines.DETECTION,
                path=story.data.vtest.absolute(),
                fps=FPS,
                snapshot=story.world.directory / "snapshot.jpg",
            ),
            Replay(name=PICTURES, model=lines.FASHION, path=story.cast.fashion_stream, rate=RATE, loop=True),
        ]
    else:
        stream = story.cast.streams[device]
        pipelines = [
            Replay(name=SENSOR, model=lines.ACTIVITY, path=stream.path, rate=RATE, loop=stream.loop, remember=True)
        ]
    return AgentSpec(
        device=device,
        state=state,
        data=data,
        pipelines=pipelines,
        telemetry_s=TELEMETRY_S,
        drift_inputs=DRIFT_INPUTS,
    )


def _write(record: LoopReport, directory: Path, *, picture: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "report.json").write_bytes(msgspec.json.format(msgspec.json.encode(record), indent=2))
    (directory / "index.html").write_text(page.render(record, picture=picture))
    if picture.exists():
        shutil.copy(picture, directory / "detections.jpg")


STAGES = (
    _enrol,
    _import_detector,
    _train,
    _roll_out,
    _begin_second_family,
    _infer,
    _drift,
    _finish_second_family,
    _retrain,
    _recover,
)
"""The story in its order."""
