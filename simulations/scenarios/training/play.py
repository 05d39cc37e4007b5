"""Play a simulated training: deal the data, run Flower's app over the grid, score each round's weights."""

from __future__ import annotations

import logging
import math
import os
import random
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import flwr.serverapp.strategy as flower
import numpy as np
from flwr.app import ArrayRecord, Message, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import Strategy
from rich.console import Console

from shared import federation as fed
from shared.federation import Instruction
from shared.task import Examples, Weights
from shared.tasks import adapter
from shared.tasks.records import FLAT, flat_record, from_record, to_record
from shared.tasks.weights import form, weights_digest
from simulations.grid.clients import Clients, DeviceApp, FashionClients, initial_weights, instruct
from simulations.grid.ray import run_on_ray
from simulations.grid.vectorised import VectorisedGrid
from simulations.images import fashion_test
from simulations.packages import Data
from simulations.progress import Narrator
from simulations.report.training import keep, summary
from simulations.scenarios.rollout.record import Check
from simulations.scenarios.training.plan import GridKind, Plan, StrategyKind
from simulations.scenarios.training.record import Round, TrainingReport

STRATEGIES: dict[StrategyKind, Callable[..., Strategy]] = {
    StrategyKind.FEDAVG: flower.FedAvg,
    StrategyKind.FEDAVGM: flower.FedAvgM,
    StrategyKind.FEDADAM: flower.FedAdam,
    StrategyKind.FEDYOGI: flower.FedYogi,
    StrategyKind.FEDMEDIAN: flower.FedMedian,
    StrategyKind.FEDTRIMMEDAVG: flower.FedTrimmedAvg,
}

NOTES = [
    "All clients are in this machine: nothing is signed, encrypted or lost on the way.",
    "Over the vectorised and the sequential grid a seed gives the same digest again on the same machine, each grid its "
    "own: batched kernels round otherwise. Over Ray the updates are added up in the order in which they come.",
]


def play(
    data: Data, plan: Plan, *, seed: int, state: Path, report: Path, port_base: int = 0, console: Console
) -> TrainingReport:
    """Train as planned, keep `training.json` and `training.html`, and tell it; no port is used.

    Raises:
        RefusedError: the plan cannot be played, or Ray is asked for and not installed.
    """
    del state, port_base
    plan.check()
    logging.getLogger("flwr").setLevel(logging.ERROR)
    clients = FashionClients(
        task=plan.task, data=data.directory, clients=plan.clients, images=plan.images, alpha=plan.alpha, seed=seed
    )
    with Narrator(console).stage(f"{plan.clients} clients, {plan.rounds} rounds", total=None) as bar:
        updates = 0

        def advance(trained: int) -> None:
            nonlocal updates
            updates += trained
            bar.update(updates, plan.clients * plan.rounds)

        told = train(clients, fashion_test(data.fashion), plan, seed=seed, progress=advance)
    keep(told, report)
    console.print(summary(told))
    console.print(f"The report is {report / 'training.html'}.")
    return told


def train(
    clients: Clients, tested: Examples, plan: Plan, *, seed: int, progress: Callable[[int], None] = lambda trained: None
) -> TrainingReport:
    """Train `clients` as planned; score on `tested`."""
    began = time.perf_counter()
    shares, task = clients.shares(), adapter(plan.task)
    sizes = [len(share.training) for share in shares]
    course = Course(initial_weights(clients, seed=seed), tested, plan)
    wanted = Instruction(
        task=plan.task,
        form=form(course.weights),
        seed=seed,
        epochs=plan.epochs,
        batch_size=plan.batch_size,
        learning_rate=plan.learning_rate,
    )
    before = task.evaluate(course.weights, tested)
    app = _app(course, wanted, plan, seed=seed)
    cores = os.cpu_count() or 1
    if plan.grid is GridKind.RAY:
        course.progress = progress
        run_on_ray(app, DeviceApp(clients), clients=len(shares), cores=cores)
    else:
        together = plan.grid is GridKind.VECTORISED
        VectorisedGrid(clients, workers=cores, together=together, progress=progress).execute(app)
    return TrainingReport(
        scenario="training",
        seed=seed,
        seconds=time.perf_counter() - began,
        task=plan.task,
        clients=len(shares),
        alpha=plan.alpha,
        strategy=plan.strategy,
        grid=plan.grid,
        cores=cores,
        examples=sum(sizes),
        fewest=min(sizes),
        most=max(sizes),
        accuracy_before=before.correct / max(before.examples, 1),
        rounds=course.rounds,
        digest=weights_digest(course.weights),
        checks=_checks(course, plan, clients=len(shares)),
        notes=NOTES,
    )


class Course:
    """What has happened so far."""

    def __init__(self, weights: Weights, tested: Examples, plan: Plan) -> None:
        self.weights = weights
        self.rounds: list[Round] = []
        self.progress: Callable[[int], None] = lambda trained: None
        self._tested, self._task = tested, adapter(plan.task)
        self._started = 0.0

    def begin(self) -> None:
        """A round's first message is about to be made."""
        self._started = time.perf_counter()

    def finish(self, number: int, updates: int, arrays: ArrayRecord, metrics: MetricRecord | None) -> None:
        """A round's new weights are there."""
        seconds = time.perf_counter() - self._started
        self.weights = from_record(arrays, form(self.weights))
        score = self._task.evaluate(self.weights, self._tested)
        loss: Any = metrics[fed.LOSS] if metrics is not None and fed.LOSS in metrics else math.nan
        accuracy = score.correct / max(score.examples, 1)
        self.rounds.append(Round(round=number, updates=updates, seconds=seconds, loss=float(loss), accuracy=accuracy))
        self.progress(updates)


def _app(course: Course, wanted: Instruction, plan: Plan, *, seed: int) -> ServerApp:
    app = ServerApp()

    @app.main()  # type: ignore[untyped-decorator]  # flwr is Any here
    def main(grid: Grid, _context: object) -> None:
        random.seed(seed)  # Flower's strategies draw the order of their clients from the global generator
        watched(plan.strategy, course, clients=plan.clients).start(
            grid=grid, initial_arrays=to_record(course.weights), num_rounds=plan.rounds, train_config=instruct(wanted)
        )

    return app


def watched(kind: StrategyKind, course: Course, *, clients: int) -> Strategy:
    """Flower's strategy, which tells `course` of each round."""
    base: Any = STRATEGIES[kind]

    class Watched(base):  # type: ignore[misc]  # flwr is Any here
        def configure_train(self, *asked: object) -> list[Message]:
            course.begin()
            return list(super().configure_train(*asked))

        def aggregate_train(
            self, server_round: int, replies: Iterable[Message]
        ) -> tuple[ArrayRecord | None, MetricRecord | None]:
            came = list(replies)
            arrays, metrics = super().aggregate_train(server_round, came)
            if arrays is not None:
                # some of Flower's strategies compute with Python's floats and so end in float64
                arrays = flat_record(arrays[FLAT].numpy().astype(np.float32))
                course.finish(server_round, sum(reply.has_content() for reply in came), arrays, metrics)
            return arrays, metrics

    made: Strategy = Watched(fraction_evaluate=0.0, min_train_nodes=clients, min_available_nodes=clients)
    return made


def _checks(course: Course, plan: Plan, *, clients: int) -> list[Check]:
    came = [each.updates for each in course.rounds]
    finite = all(bool((abs(values) < math.inf).all()) for values in course.weights.values())
    return [
        Check(
            name="every client's update came in every round",
            held=came == [clients] * plan.rounds,
            said=f"{sum(came)} of {clients * plan.rounds}",
        ),
        Check(name="the model is finite", held=finite, said="all weights" if finite else "not all weights"),
    ]
