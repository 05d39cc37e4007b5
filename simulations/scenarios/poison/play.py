"""Play the poisoned runs: every attack against every rule, each beside the same rule without attackers."""

from __future__ import annotations

import logging
import multiprocessing
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import msgspec
import numpy as np
from rich.console import Console

from cloud.models.line import LocalRecipe
from cloud.training.asking import Roster
from cloud.training.events import RoundStarted, StatisticsTaken, UpdateRefused
from cloud.training.gate_terms import GateTerms
from cloud.training.ledger import Checkpoint, RunLedger
from cloud.training.phases import Asking, merge_moments, take_statistics
from cloud.training.rules import Krum, Mean, Median, Rule, TrimmedMean
from cloud.training.spec import RunSpec, check
from cloud.training.strategy import RunStrategy
from shared.clock import SystemClock
from shared.task import Examples
from shared.tasks import adapter
from shared.tasks.records import to_record
from shared.tasks.weights import weights_digest
from simulations.images import dirichlet_shares, fashion_test, fashion_training
from simulations.packages import Data
from simulations.partitions import write_split
from simulations.progress import Narrator
from simulations.report.poison import keep, summary
from simulations.scenarios.poison.attackers import BACKWARDS, MIRRORED, POISONS, Poison
from simulations.scenarios.poison.record import Outcome, PoisonReport
from simulations.scenarios.poison.site import LocalGrid, Site, speak_as
from simulations.scenarios.poison.verdict import MEAN, NO_DISTANCE, WHOLE, checks_of

TASK = "fashion"
DEVICES, LIARS = 20, 4
IMAGES, TESTED = 8000, 5000
ALPHA = 10.0
"""Shares differ, and every device sees every class: Krum picks one device's model and would pick a narrow one."""

ROUNDS = 8
RECIPE = LocalRecipe(epochs=1, batch_size=16, learning_rate=0.02)

RULES: dict[str, Rule] = {
    MEAN: Mean(),
    "trimmed mean": TrimmedMean(share=LIARS / DEVICES),
    "median": Median(),
    "krum": Krum(attackers=LIARS),
    "multi-krum": Krum(attackers=LIARS, keep=DEVICES - 2 * LIARS),
}

NOTES = (
    "Devices live in one process: the agents' own client over a data set each, and the coordinator's own strategy, "
    "gate, rules and ledger. There is no network and no SuperLink; the scenario `attacks` has both.",
    "An honest device's answer to the same question is worked out once: runs that differ in their liars share it.",
    "Training gone backwards passes the gate: what it costs is shown, and has no bar.",
    "A majority of liars, and attacks that stay among the honest updates, are not claimed to be withstood.",
)


def play(data: Data, *, seed: int, state: Path, report: Path, port_base: int, console: Console) -> PoisonReport:
    """Play all runs and write the report; `port_base` is for scenarios with servers.

    Raises:
        HinterlandError: a run did not come to its end.
    """
    began, place = time.time(), (state / "poison").absolute()
    shutil.rmtree(place, ignore_errors=True)
    narrator = Narrator(console)
    with narrator.stage("data of the devices", total=1):
        liars = _deal(data, place, seed=seed)
    outcomes: dict[str, list[Outcome]] = {}
    with narrator.stage("runs", total=len(RULES)) as bar:
        spawn = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
        with ProcessPoolExecutor(2, mp_context=spawn) as pool:
            jobs = {pool.submit(play_rule, name, place, seed=seed, liars=liars): name for name in RULES}
            for done in as_completed(jobs):
                outcomes[jobs[done]] = done.result()
                bar.update(len(outcomes), text=jobs[done])
    every = [outcome for name in RULES for outcome in outcomes[name]]
    told = PoisonReport(
        scenario="poison",
        seed=seed,
        seconds=time.time() - began,
        devices=DEVICES,
        liars=liars,
        rounds=ROUNDS,
        images=IMAGES,
        outcomes=every,
        checks=checks_of(every, liars=liars),
        notes=list(NOTES),
    )
    keep(told, report)
    console.print(summary(told))
    console.print(f"The report is {report / 'poison.json'}.")
    return told


def play_rule(name: str, place: Path, *, seed: int, liars: list[str]) -> list[Outcome]:
    """Play all runs of one rule, in a process of its own."""
    import torch

    torch.set_num_threads(1)
    logging.getLogger("flwr").setLevel(logging.ERROR)
    speak_as(1)
    # its own devices: two processes that open and close one store get in each other's way, as no two trainers would
    own = shutil.copytree(place / "devices", place / "runs" / name / "devices")
    site = Site({path.name: path for path in own.iterdir()})
    with np.load(place / "test.npz") as file:
        tested = Examples(file["x"], file["y"])
    outcomes: list[Outcome] = []
    try:
        for poison, gate in _plan(name):
            directory = place / "runs" / name / f"{poison.name if poison else 'honest'}-{gate}"
            grid = LocalGrid(site, liars=liars, poison=poison)
            ledger = _run(directory, grid, site, rule=RULES[name], gate=gate, seed=seed)
            honest = outcomes[0].accuracy if outcomes else None
            outcomes.append(_outcome(ledger, tested, rule=name, poison=poison, gate=gate, honest=honest))
    finally:
        site.close()
    return outcomes


def _plan(rule: str) -> Iterator[tuple[Poison | None, str]]:
    yield None, WHOLE
    for poison in POISONS:
        yield poison, WHOLE
    yield MIRRORED, NO_DISTANCE
    if rule != MEAN:
        yield BACKWARDS, WHOLE


def _deal(data: Data, place: Path, *, seed: int) -> list[str]:
    """Write each device's data set; return who lies."""
    shares = dirichlet_shares(fashion_training(data.fashion), devices=DEVICES, images=IMAGES, alpha=ALPHA, seed=seed)
    names = [f"shop-{number:02}" for number in range(1, DEVICES + 1)]
    for name, share in zip(names, shares, strict=True):
        write_split(place / "devices" / name / TASK, training=share.training, holdout=share.holdout)
    tested = fashion_test(data.fashion)
    np.savez(place / "test.npz", x=tested.x[:TESTED], y=tested.y[:TESTED])
    return sorted(np.random.default_rng(seed).choice(names, LIARS, replace=False).tolist())


def _run(directory: Path, grid: LocalGrid, site: Site, *, rule: Rule, gate: str, seed: int) -> RunLedger:
    """Statistics and rounds, as the coordinator's job plays them."""
    terms = GateTerms() if gate == WHOLE else msgspec.structs.replace(GateTerms(), farthest=None)
    spec = check(
        RunSpec(
            run="poisoned-run-1",
            task=TASK,
            members=site.members,
            seed=seed,
            rounds=ROUNDS,
            local=RECIPE,
            rule=rule,
            gate=terms,
        )
    )
    ledger, clock, task = RunLedger(directory), SystemClock(), adapter(TASK)
    roster = Roster(spec.members, task=TASK, ttl_s=60.0, run=spec.run, purpose=spec.purpose)
    answers = take_statistics(
        Asking(grid=grid, roster=roster, spec=spec, ledger=ledger, clock=clock), roster.members, task
    )
    weights = task.initial(seed=seed, moments=merge_moments(answers.values()))
    begin = Checkpoint(0, weights, {})
    registered = {device: answer.training for device, answer in answers.items()}
    ledger.write_checkpoint(begin)
    ledger.append(
        StatisticsTaken(at=clock.now(), registered=registered, holdout=registered, digest=weights_digest(weights))
    )
    strategy = RunStrategy(spec, roster=roster, registered=registered, begin=begin, ledger=ledger, clock=clock)
    strategy.start(grid, to_record(weights), num_rounds=ROUNDS, timeout=60.0)
    return ledger


def _outcome(
    ledger: RunLedger, tested: Examples, *, rule: str, poison: Poison | None, gate: str, honest: float | None
) -> Outcome:
    """What a run's ledger and checkpoints say of it."""
    events = ledger.events()
    refused = [event for event in events if isinstance(event, UpdateRefused)]
    models = [ledger.read_checkpoint(number).weights for number in range(ROUNDS + 1)]
    score = adapter(TASK).evaluate(models[-1], tested)
    accuracy = score.correct / score.examples
    return Outcome(
        rule=rule,
        attack=poison.name if poison else "",
        gate=gate,
        accuracy=accuracy,
        lost=0.0 if honest is None else 100 * (honest - accuracy),
        finite=all(bool(np.isfinite(values).all()) for model in models for values in model.values()),
        refused=dict(Counter(event.check or event.cause.value for event in refused)),
        reasons=sorted({event.reason for event in refused})[:3],
        quarantined=[event for event in events if isinstance(event, RoundStarted)][-1].quarantined,
        digest=weights_digest(models[-1]),
    )
