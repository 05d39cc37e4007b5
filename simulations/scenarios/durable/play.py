"""One run left alone, then the same run under kills: both must end with the same model, bit for bit."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import msgspec
from rich.console import Console

from cloud.models.gates import Bar
from cloud.models.line import LocalRecipe, ModelLine
from cloud.training.events import AnyEvent, AttemptStarted, Phase, RoundFinished
from cloud.training.ledger import RunLedger
from cloud.training.result import read_result
from shared import api
from shared.bundle import Schema
from shared.errors import FaultError, HinterlandError
from shared.tasks import adapter
from simulations.images import dirichlet_shares, fashion_training
from simulations.packages import Data
from simulations.partitions import write_split
from simulations.progress import Bar as Progress
from simulations.progress import Narrator
from simulations.report import durable as told
from simulations.scenarios import lines
from simulations.scenarios.durable.plan import ROUNDS, Kill, Moment, moment, plan
from simulations.scenarios.durable.record import DurableReport, Killed, Told
from simulations.scenarios.durable.victims import Victims
from simulations.world import leftovers
from simulations.world.agents import AgentSpec
from simulations.world.world import World

DEVICES = ("shop-1", "shop-2", "shop-3")
FLEET = "shops"
IMAGES = 3600
LOOK_S = 0.02
ASK_S = 1.0
"""Between two questions to the API."""

LIMIT_S = 900.0
KILLS = 42
ENDED = ("released", "rejected", "failed")


def play(
    data: Data,
    *,
    state: Path,
    report: Path,
    seed: int,
    port_base: int,
    console: Console,
    kills: int = KILLS,
    rounds: int = ROUNDS,
) -> DurableReport:
    """Play both runs, write the report, stop every process.

    Raises:
        HinterlandError: the world could not be set up, or a run did not end; everything is stopped all the same.
    """
    narrator, began = Narrator(console), time.monotonic()
    directory = (state / "durable").absolute()
    with leftovers.sole_use(state):
        world = World(directory, port_base=port_base)
        try:
            _set_up(world, data, narrator, seed=seed, rounds=rounds)
            with narrator.stage("the run, left alone", total=rounds) as bar:
                alone = _Run(world, seed, bar).follow([])
            planned = plan(seed, DEVICES, kills=kills, rounds=rounds)
            with narrator.stage(f"the same run under {len(planned)} kills", total=len(planned)) as bar:
                run = _Run(world, seed, bar)
                disturbed = run.follow(planned)
            size = sum(path.stat().st_size for path in (directory / "coordinator" / "superlink").glob("*sqlite*"))
        finally:
            world.stop()
    same = (alone.digest, alone.files, alone.rounds) == (disturbed.digest, disturbed.files, disturbed.rounds)
    back = all(kill.recovered_s >= 0 for kill in run.killed)
    document = DurableReport(
        seed=seed,
        planned=len(planned),
        held=bool(alone.digest) and same and back and len(run.killed) >= len(planned),
        undisturbed=alone,
        killed=disturbed,
        kills=run.killed,
        by_victim=dict(Counter(kill.victim for kill in run.killed)),
        by_step=dict(Counter(kill.step for kill in run.killed)),
        superlink_mib=size / 2**20,
        seconds=time.monotonic() - began,
    )
    told.keep(document, report)
    console.print(told.summary(document))
    console.print(f"The report is {report / 'durable.json'}.")
    return document


def _set_up(world: World, data: Data, narrator: Narrator, *, seed: int, rounds: int) -> None:
    with narrator.stage("servers: broker, coordinator, SuperLink", total=1):
        world.build(tenant="demo", fleets=(FLEET,))
        world.start()
    world.client.apply_model(lines.documents(_line(seed=seed, rounds=rounds))[0])
    shares = dirichlet_shares(fashion_training(data.fashion), devices=len(DEVICES), images=IMAGES, alpha=5.0, seed=seed)
    with narrator.stage("devices enrol", total=len(DEVICES)) as bar:
        for device, share in zip(DEVICES, shares, strict=True):
            place = world.directory / "data" / device
            write_split(place / lines.FASHION, training=share.training, holdout=share.holdout)
            state = world.directory / device
            spec = AgentSpec(device=device, state=state, data=place, pipelines=(), telemetry_s=5.0, drift_inputs=50)
            world.start_agent(spec, fleet=FLEET)
        deadline = time.monotonic() + 60
        while sum(bool(device.node) for device in world.client.devices()) < len(DEVICES):
            if time.monotonic() > deadline:
                raise FaultError("not every device enrolled", hint=f"See {world.logs}.")
            bar.update(len(world.client.devices()))
            time.sleep(0.3)


def _line(*, seed: int, rounds: int) -> ModelLine:
    family = adapter(lines.FASHION)
    return ModelLine(
        name=lines.FASHION,
        task=lines.FASHION,
        schema=Schema(kind="classification", labels=list(family.labels), input_shape=list(family.input_shape)),
        rounds=rounds,
        recipe=LocalRecipe(epochs=2, batch_size=32, learning_rate=0.05),
        seed=seed,
        min_devices=len(DEVICES),  # a round without one of them would be another model
        members=DEVICES,
        bar=Bar(accuracy=1.0),  # nothing is released: the training is what is looked at
    )


class _Run:
    """One run, followed in its ledger while processes die."""

    def __init__(self, world: World, seed: int, bar: Progress) -> None:
        self._world = world
        self._bar = bar
        overrides = {"seed": seed, "round_timeout_s": 90.0}  # the same seed for every run of the line
        request = api.RunRequest(model=lines.FASHION, reason="durable", overrides=overrides)
        self._began = time.time()
        self.id = world.client.start_run(request).id
        self._place = world.layout.runs / self.id
        self._ledger = RunLedger(self._place)
        self._victims = Victims(world, self._place)
        self._pending: list[tuple[int, Kill, float, int]] = []
        self.killed: list[Killed] = []

    def follow(self, kills: list[Kill]) -> Told:
        """Kill as planned until the run is over and everything is back."""
        due, last, asked, state = list(kills), time.time(), 0.0, ""
        while state not in ENDED or (self._pending and time.time() - last < 60):
            if time.time() - self._began > LIMIT_S:
                raise FaultError(f"{self.id} is not over after {LIMIT_S:.0f} s", hint=f"See {self._place}.")
            self._victims.restart()
            events = self._ledger.events()
            checkpoints = {int(path.stem[-3:]) for path in self._place.glob("round-*.npz")}
            if state not in ENDED:
                now = moment(events, checkpoints=checkpoints)
                chosen = next((kill for kill in due[:4] if self._is_due(kill, now, last)), None)
                if chosen is not None and self._kill(chosen, now.step, now.round):
                    due.remove(chosen)
                    last = time.time()
            self._note_recoveries(events)
            self._bar.update(len(self.killed) if kills else len(checkpoints))
            if time.monotonic() - asked >= ASK_S:
                asked, state = time.monotonic(), self._state() or state
            time.sleep(LOOK_S)
        return self._told(state)

    def _is_due(self, kill: Kill, now: Moment, last: float) -> bool:
        phase, round_, _, since = now
        if phase is None or _order(phase) < _order(kill.phase) or round_ < kill.round:
            return False
        begun = max(last, since) if _order(phase) == _order(kill.phase) else last
        return time.time() - begun >= kill.pause_s

    def _kill(self, kill: Kill, step: str, round_: int) -> bool:
        if any(kill.victim == other.victim and kill.device == other.device for _, other, *_ in self._pending):
            return False  # not back yet from the last time
        at = time.time()
        dead = self._victims.kill(kill)
        if dead is None:
            return False
        self._pending.append((len(self.killed), kill, at, dead))
        self.killed.append(
            Killed(at_s=at - self._began, victim=kill.victim.value, device=kill.device, step=step, round=round_)
        )
        return True

    def _note_recoveries(self, events: list[AnyEvent]) -> None:
        for pending in list(self._pending):
            number, kill, at, dead = pending
            if self._victims.back(kill, events, since=at, dead=dead):
                self._pending.remove(pending)
                self.killed[number] = msgspec.structs.replace(self.killed[number], recovered_s=time.time() - at)

    def _state(self) -> str:
        try:
            return self._world.client.run(self.id).state
        except HinterlandError:
            return ""  # the coordinator is away

    def _told(self, state: str) -> Told:
        result, events = read_result(self._place), self._ledger.events()
        rounds = {event.round: event.digest for event in events if isinstance(event, RoundFinished)}
        return Told(
            run=self.id,
            digest=result.digest if result else "",
            files={name: artefact.digest for name, artefact in result.files.items()} if result else {},
            rounds=[digest for _, digest in sorted(rounds.items())],
            attempts=sum(isinstance(event, AttemptStarted) for event in events),
            seconds=time.time() - self._began,
            state=state,
        )


def _order(phase: Phase) -> int:
    return list(Phase).index(phase)
