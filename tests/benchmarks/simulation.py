"""Client updates a second of a simulation: our Grid against a plain loop of torch, Flower's Ray engine, Apple's pfl.

The same data, task, cohort and mean on all sides. Ours and Ray run one `ServerApp` with Flower's FedAvg; only who
carries the messages differs. The loop has no messages: a module, `torch.optim.SGD` and one client after the other. Of
the loop with one thread and with all of them, of ours with threads and with processes, and of pfl with one process and
with one for each core, the faster counts. pfl is no dependency: it wants older versions of what we use, so it is
measured where somebody has installed it, in an environment that is then good for nothing else. The first
round, in which processes start and kernels are chosen, is counted nowhere.

A side that lost an update, or whose first round ends elsewhere than the others', ends the benchmark: rates of different
computations are no comparison.
"""

from __future__ import annotations

import importlib.util
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from flwr.app import ArrayRecord, Message, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from numpy.typing import NDArray

from cloud.training.cohort import local_seed
from shared.federation import Instruction
from shared.task import Examples, Recipe, Weights
from shared.tasks import adapter
from shared.tasks.descent import CLIP, MOMENTUM, WEIGHT_DECAY, batches
from shared.tasks.network import NetworkTask
from shared.tasks.records import flatten, from_record, to_record, unflatten
from shared.tasks.weights import form
from simulations.grid.clients import DeviceApp, FashionClients, initial_weights, instruct
from simulations.grid.ray import run_on_ray
from simulations.grid.vectorised import VectorisedGrid
from simulations.images import fashion_test
from simulations.packages.data import layout
from tests.benchmarks.figure import Figure, compare
from tests.benchmarks.simulation_pfl import is_there, on_pfl

if TYPE_CHECKING:
    import torch

CORES = os.cpu_count() or 1
SEED = 11
FIRST_ROUND = 2e-4
"""Largest difference of a weight after one round: roundings of float32, carried through some twenty steps."""

ACCURACY = 0.005
"""Largest difference at the end. Later rounds part further at the kinks of a network; of 10,000 pictures, one standard
error is 0.0043."""


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
    first: NDArray[np.float32]
    """All weights after the first round."""


class TimedFedAvg(FedAvg):  # type: ignore[misc]  # flwr is Any here
    """Flower's FedAvg with a watch, from the first message of a round to its aggregate, and an attendance list."""

    def __init__(self, clients: int) -> None:
        # its defaults are content with two nodes
        super().__init__(fraction_evaluate=0.0, min_train_nodes=clients, min_available_nodes=clients)
        self.clients = clients
        self.seconds: list[float] = []
        self.first: ArrayRecord | None = None
        self._started = 0.0

    def configure_train(self, server_round: int, *rest: object) -> list[Message]:
        self._started = time.perf_counter()
        return list(super().configure_train(server_round, *rest))

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        came = list(replies)
        result = super().aggregate_train(server_round, came)
        self.seconds.append(time.perf_counter() - self._started)
        trained = {reply.metadata.src_node_id for reply in came if reply.has_content()}
        if len(trained) != self.clients:
            raise AssertionError(f"round {server_round}: {len(trained)} of {self.clients} updates came")
        self.first = self.first or result[0]
        return result


def measure(*, turns: int = 3, data: Path = Path(".hinterland/data")) -> Iterator[Figure]:
    """100 clients with a small CNN, 1,000 with softmax regression, each round all of them."""
    for name, task, count in (("cnn-100", "fashion", 100), ("linear-1000", "fashion-linear", 1000)):
        case = prepare(name, FashionClients(task=task, data=data, clients=count))
        yield from _figures(case, turns=turns)


def prepare(name: str, clients: FashionClients) -> Case:
    """Deal the data and draw the first weights."""
    initial = initial_weights(clients, seed=SEED)
    wanted = Instruction(task=clients.task, form=form(initial), seed=SEED, epochs=1, batch_size=32, learning_rate=0.05)
    return Case(name, clients, wanted, initial)


def _figures(case: Case, *, turns: int) -> Iterator[Figure]:
    rounds = turns + 1
    loops = {threads: in_a_loop(case, rounds, threads=threads) for threads in sorted({1, CORES})}
    threads = min(loops, key=lambda tried: statistics.median(loops[tried].seconds[1:]))
    loop = f"a plain torch loop, {threads} threads"
    ways = {how: on_our_grid(case, rounds, **{how: CORES}) for how in ("workers", "processes")}
    how = min(ways, key=lambda tried: statistics.median(ways[tried].seconds[1:]))
    memory = f"this process at most {_peak(resource.RUSAGE_SELF)} MiB"
    if how == "processes":
        memory += f", each of the others at most {_peak(resource.RUSAGE_CHILDREN)} MiB"
    grid = f"vectorised Grid, {CORES} {'threads' if how == 'workers' else how}"
    sides = {"ours": ways[how], loop: loops[threads]}
    if importlib.util.find_spec("ray") is None:
        print(f"{case.name}: Ray is not there and is left out: pip install 'ray==2.55.1'", file=sys.stderr)
    else:
        sides["Flower's Ray simulation"] = on_ray(case, rounds)
    if not is_there():
        print(f"{case.name}: pfl is not there and is left out: pip install 'pfl==0.6.0' elsewhere", file=sys.stderr)
    else:
        apples = {
            f"Apple's pfl, {processes} processes": _pfl(case, rounds, processes) for processes in sorted({1, CORES})
        }
        best = min(apples, key=lambda tried: statistics.median(apples[tried].seconds[1:]))
        sides[best] = apples[best]
    accuracies = {side: _accuracy(case, course.weights) for side, course in sides.items()}
    apart = {side: float(np.abs(course.first - sides["ours"].first).max()) for side, course in sides.items()}
    if max(apart.values()) > FIRST_ROUND or max(accuracies.values()) - min(accuracies.values()) > ACCURACY:
        raise AssertionError(f"{case.name}: the sides do not compute the same: {apart}, accuracies {accuracies}")
    count = case.clients.clients
    rates = {side: count / statistics.median(course.seconds[1:]) for side, course in sides.items()}
    ceiling = _ceiling(case)
    yield compare(
        name=f"simulation.{case.name}.arithmetic",
        ours=rates["ours"], peer=ceiling, unit="client updates/s", better="higher",
        what_ours=f"{grid}, all of a round",
        what_peer=f"its multiplications alone, at the rate of a 1024 x 1024 product of torch on {CORES} threads",
    )  # fmt: skip
    size = flatten(case.initial).nbytes
    for side in [side for side in sides if side != "ours"]:
        yield compare(
            name=f"simulation.{case.name}.{next(word for word in ('Ray', 'pfl', 'loop') if word in side).lower()}",
            ours=rates["ours"], peer=rates[side], unit="client updates/s", better="higher",
            what_ours=f"{grid}, accuracy {accuracies['ours']:.4f}, {size} bytes an update, "
            f"{memory}",
            what_peer=f"{side}, accuracy {accuracies[side]:.4f}, the same bytes, "
            f"weights at most {apart[side]:.1e} apart after one round",
        )  # fmt: skip


def _peak(who: int) -> int:
    return resource.getrusage(who).ru_maxrss >> 10


def _ceiling(case: Case) -> float:
    """Client updates a second if a round were nothing but its multiplications, at the rate of one large product."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    family, shares = adapter(case.clients.task), case.clients.shares()
    assert isinstance(family, NetworkTask)
    module, data = family.build(), shares[0].training
    counter = FlopCounterMode(display=False)
    with counter:
        torch.nn.functional.cross_entropy(module(torch.from_numpy(data.x)), torch.from_numpy(data.y)).backward()
    each = counter.get_total_flops() / len(data)
    work = each * case.wanted.epochs * sum(len(share.training) for share in shares) / len(shares)
    torch.set_num_threads(CORES)
    left, right = torch.ones(1024, 1024), torch.ones(1024, 1024)
    seconds = []
    for _ in range(20):
        started = time.perf_counter()
        left @ right
        seconds.append(time.perf_counter() - started)
    return float(2 * 1024**3 / min(seconds) / work)


def on_our_grid(case: Case, rounds: int, **how: int) -> Course:
    """Flower's app over our Grid."""
    return _with_app(case, rounds, VectorisedGrid(case.clients, **how).execute)


def on_ray(case: Case, rounds: int) -> Course:
    """The same app over Flower's simulation engine."""
    client = DeviceApp(case.clients)
    return _with_app(case, rounds, lambda app: run_on_ray(app, client, clients=case.clients.clients, cores=CORES))


def _pfl(case: Case, rounds: int, processes: int) -> Course:
    seconds, last, first = on_pfl(case, rounds, processes=processes)
    return Course(seconds, last, flatten(first))


def in_a_loop(case: Case, rounds: int, *, threads: int) -> Course:
    """One client after the other, and the mean: torch as its tutorials have it, and no Flower at all."""
    import torch

    family = adapter(case.clients.task)
    assert isinstance(family, NetworkTask)
    before = torch.get_num_threads()
    torch.set_deterministic_debug_mode("default")
    module, weights, seconds, first = family.build(), dict(case.initial), [], np.zeros(0, dtype=np.float32)
    for round_ in range(1, rounds + 1):
        torch.set_num_threads(threads)
        started = time.perf_counter()
        total, examples = np.zeros_like(flatten(weights), dtype=np.float64), 0
        for position, share in enumerate(case.clients.shares()):
            module.load_state_dict({name: torch.from_numpy(values) for name, values in weights.items()})
            _train(module, share.training, recipe_of(case.wanted, round_, position))
            update = [values.numpy() for values in module.state_dict().values()]
            total += len(share.training) * np.concatenate([values.ravel() for values in update])
            examples += len(share.training)
        weights = unflatten((total / examples).astype(np.float32), case.wanted.form)
        seconds.append(time.perf_counter() - started)
        first = first if first.size else flatten(weights)
    torch.set_num_threads(before)
    return Course(seconds, weights, first)


def _train(module: torch.nn.Module, data: Examples, recipe: Recipe) -> None:
    import torch

    optimiser = torch.optim.SGD(
        module.parameters(), lr=recipe.learning_rate, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY
    )
    order = np.random.Generator(np.random.PCG64(recipe.seed))
    x, y = torch.from_numpy(data.x), torch.from_numpy(data.y)
    module.train()
    for _ in range(recipe.epochs):
        for chosen in map(torch.from_numpy, batches(order, len(data), recipe.batch_size)):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(module(x[chosen]), y[chosen]).backward()
            torch.nn.utils.clip_grad_norm_(module.parameters(), CLIP)
            optimiser.step()


def _with_app(case: Case, rounds: int, run: Callable[[ServerApp], object]) -> Course:
    strategy, arrays = TimedFedAvg(case.clients.clients), []
    app = ServerApp()

    @app.main()
    def main(grid: Grid, _context: object) -> None:
        config = instruct(case.wanted)
        started = to_record(case.initial)
        arrays.append(strategy.start(grid=grid, initial_arrays=started, num_rounds=rounds, train_config=config).arrays)

    run(app)
    form_ = case.wanted.form
    return Course(strategy.seconds, from_record(arrays[0], form_), flatten(from_record(strategy.first, form_)))


def recipe_of(wanted: Instruction, round_: int, position: int) -> Recipe:
    seed = local_seed(wanted.seed, round_, f"client-{position}")
    return Recipe(epochs=wanted.epochs, batch_size=wanted.batch_size, learning_rate=wanted.learning_rate, seed=seed)


def _accuracy(case: Case, weights: Mapping[str, NDArray[np.float32]]) -> float:
    score = adapter(case.clients.task).evaluate(weights, fashion_test(layout(case.clients.data, evaluation={}).fashion))
    return score.correct / score.examples
