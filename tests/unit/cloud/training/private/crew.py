"""Ten devices with a little real training each, reached over a grid in this process."""

import numpy as np

from cloud.training.asking import Roster
from cloud.training.ledger import Checkpoint, RunLedger
from cloud.training.optimisers import FedAvg
from cloud.training.private.strategy import run_rounds, strategy_of
from cloud.training.private.terms import Private
from cloud.training.spec import LocalRecipe, Member, RunSpec, check
from edge.training.client import build_client
from edge.training.dataset import DatasetStore
from shared.clock import SystemClock
from shared.task import Moments
from shared.tasks import adapter
from shared.tasks.records import to_record
from simulations.scenarios.private.nodes import Nodes, nobody

TASK = adapter("activity")
DEVICES = 10
NAMES = [f"watch-{number}" for number in range(DEVICES)]
NODES = {name: 100 + number for number, name in enumerate(NAMES)}
REGISTERED = {name: 6 + number for number, name in enumerate(NAMES)}


def make_stores(directory):
    stores = {}
    for number, name in enumerate(NAMES):
        split = directory / name / "activity"
        split.mkdir(parents=True)
        source = np.random.default_rng(number)
        for part, count in (("train", REGISTERED[name]), ("holdout", 3)):
            x = source.normal(size=(count, 6, 100)).astype(np.float32)
            np.savez(split / f"{part}.npz", x=x, y=source.integers(0, 7, count))
        stores[name] = DatasetStore(directory / name)
    return stores


def make_spec(privacy=Private(), **changes):  # noqa: B008 - frozen
    fields = {
        "run": "run-1", "task": "activity", "seed": 7, "rounds": 1, "strategy": FedAvg(), "privacy": privacy,
        "members": [Member(device=name, node=node) for name, node in NODES.items()],
        "local": LocalRecipe(epochs=1, batch_size=8, learning_rate=0.02),
    }  # fmt: skip
    return check(RunSpec(**fields | changes))


def initial():
    return TASK.initial(seed=1, moments=Moments(count=1, total=np.zeros(6), square=np.ones(6)))


def play(stores, directory, spec, *, drops=nobody, run=1, begin=None):
    """Play the rounds of a spec; return the strategy, the grid, and why it ended early."""
    nodes = Nodes({NODES[name]: build_client(store) for name, store in stores.items()}, run=run, drops=drops)
    begin = begin or Checkpoint(0, initial(), {})
    strategy = strategy_of(
        spec,
        roster=Roster(spec.members, task=spec.task, ttl_s=60.0),
        registered=REGISTERED,
        begin=begin,
        ledger=RunLedger(directory),
        clock=SystemClock(),
    )
    why = run_rounds(strategy, nodes, to_record(begin.weights), rounds=spec.rounds - begin.round, timeout=60.0)
    return strategy, nodes, why
