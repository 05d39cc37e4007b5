"""Client updates a second of a simulation: our Grid against a plain loop of torch, and against Flower's Ray engine.

The same data, task, `ServerApp` and FedAvg on all sides; only who carries the messages differs. The loop has not even
messages: it calls the task adapter and nothing else. Ray is skipped, with a word on how to get it, where it is not
installed. Its first round, in which it starts its processes, is not counted.
"""

from __future__ import annotations

import importlib.util
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from flwr.app import ArrayRecord, Message, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from numpy.typing import NDArray

from cloud.training.cohort import local_seed
from edge.training.client import moments_of
from shared.federation import Instruction
from shared.task import Moments, Recipe, Weights
from shared.tasks import adapter
from shared.tasks.records import flatten, from_record, to_record, unflatten
from shared.tasks.weights import form
from simulations.grid.clients import DeviceApp, FashionClients, instruct
from simulations.grid.ray import run_on_ray
from simulations.grid.vectorised import VectorisedGrid
from simulations.images import fashion_test
from simulations.packages.data import layout
from tests.benchmarks.figure import Figure, compare

CORES = os.cpu_count() or 1
SEED = 11


class Case(NamedTuple):
    """A federation and how it trains."""

    name: str
    clients: FashionClients
    wanted: Instruction
    initial: Weights


class Course(NamedTuple):
    """What a simulation gave."""

    seconds: list[float]
    """Training and aggregation of each round."""

    weights: Weights


class TimedFedAvg(FedAvg):  # type: ignore[misc]  # flwr is Any here
    """Flower's FedAvg with a watch: from the first message of a round to its aggregate."""

    def __init__(self) -> None:
        super().__init__(fraction_evaluate=0.0)
        self.seconds: list[float] = []
        self._started = 0.0

    def configure_train(self, server_round: int, *rest: object) -> list[Message]:
        self._started = time.perf_counter()
        return list(super().configure_train(server_round, *rest))

    def aggregate_train(self, *rest: object) -> tuple[ArrayRecord | None, MetricRecord | None]:
        result = super().aggregate_train(*rest)
        self.seconds.append(time.perf_counter() - self._started)
        return result


def measure(*, turns: int = 3, data: Path = Path(".hinterland/data")) -> Iterator[Figure]:
    """100 clients with a small CNN, 1,000 with softmax regression, each round all of them."""
    for name, task, count in (("cnn-100", "fashion", 100), ("linear-1000", "fashion-linear", 1000)):
        case = prepare(name, FashionClients(task=task, data=data, clients=count))
        yield from _figures(case, turns=turns)


def prepare(name: str, clients: FashionClients) -> Case:
    """Deal the data and draw the first weights."""
    family = adapter(clients.task)
    answers = [moments_of(share.training, share.holdout) for share in clients.shares()]
    moments = Moments(
        count=sum(answer.count for answer in answers),
        total=np.sum([answer.total for answer in answers], axis=0),
        square=np.sum([answer.square for answer in answers], axis=0),
    )
    initial = family.initial(seed=SEED, moments=moments)
    wanted = Instruction(task=clients.task, form=form(initial), seed=SEED, epochs=1, batch_size=32, learning_rate=0.05)
    return Case(name, clients, wanted, initial)


def _figures(case: Case, *, turns: int) -> Iterator[Figure]:
    rounds = turns + 1
    sides: dict[str, Course] = {"ours": on_our_grid(case, rounds), "a sequential torch loop": in_a_loop(case, rounds)}
    if importlib.util.find_spec("ray") is None:
        print(f"{case.name}: Ray is not there and is left out: pip install 'ray==2.55.1'", file=sys.stderr)
    else:
        sides["Flower's Ray simulation"] = on_ray(case, rounds)
    accuracies = {side: _accuracy(case, course.weights) for side, course in sides.items()}
    if max(accuracies.values()) - min(accuracies.values()) > 0.005:
        raise AssertionError(f"{case.name}: the sides do not compute the same: {accuracies}")
    count = case.clients.clients
    rates = {side: count / statistics.median(course.seconds[1:]) for side, course in sides.items()}
    size = flatten(case.initial).nbytes
    for side in sides.keys() - {"ours"}:
        yield compare(
            name=f"simulation.{case.name}.{'ray' if 'Ray' in side else 'loop'}",
            ours=rates["ours"], peer=rates[side], unit="client updates/s", better="higher",
            what_ours=f"vectorised Grid, {CORES} threads, accuracy {accuracies['ours']:.4f}, {size} bytes an update, "
            f"process at most {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10} MiB",
            what_peer=f"{side}, accuracy {accuracies[side]:.4f}, the same bytes",
        )  # fmt: skip


def on_our_grid(case: Case, rounds: int) -> Course:
    """Flower's app over our Grid."""
    return _with_app(case, rounds, VectorisedGrid(case.clients, workers=CORES).execute)


def on_ray(case: Case, rounds: int) -> Course:
    """The same app over Flower's simulation engine."""
    client = DeviceApp(case.clients)
    return _with_app(case, rounds, lambda app: run_on_ray(app, client, clients=case.clients.clients, cores=CORES))


def in_a_loop(case: Case, rounds: int) -> Course:
    """One client after the other, and the mean: no Flower at all."""
    family, weights, seconds = adapter(case.clients.task), dict(case.initial), []
    for round_ in range(1, rounds + 1):
        started = time.perf_counter()
        total, examples = np.zeros_like(flatten(weights), dtype=np.float64), 0
        for position, share in enumerate(case.clients.shares()):
            trained = family.train(weights, share.training, _recipe(case.wanted, round_, position))
            total += trained.examples * flatten(trained.weights)
            examples += trained.examples
        weights = unflatten((total / examples).astype(np.float32), case.wanted.form)
        seconds.append(time.perf_counter() - started)
    return Course(seconds, weights)


def _with_app(case: Case, rounds: int, run: Callable[[ServerApp], object]) -> Course:
    strategy, arrays = TimedFedAvg(), []
    app = ServerApp()

    @app.main()
    def main(grid: Grid, _context: object) -> None:
        config = instruct(case.wanted)
        started = to_record(case.initial)
        arrays.append(strategy.start(grid=grid, initial_arrays=started, num_rounds=rounds, train_config=config).arrays)

    run(app)
    return Course(strategy.seconds, from_record(arrays[0], case.wanted.form))


def _recipe(wanted: Instruction, round_: int, position: int) -> Recipe:
    seed = local_seed(wanted.seed, round_, f"client-{position}")
    return Recipe(epochs=wanted.epochs, batch_size=wanted.batch_size, learning_rate=wanted.learning_rate, seed=seed)


def _accuracy(case: Case, weights: Mapping[str, NDArray[np.float32]]) -> float:
    score = adapter(case.clients.task).evaluate(weights, fashion_test(layout(case.clients.data, evaluation={}).fashion))
    return score.correct / score.examples
