"""An app for stock SuperLink and SuperNodes: FedAvg over the same task, and a clock; also the clock of our trainers."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from shared.task import Examples, Moments, Recipe
from shared.task_compute import Compute
from shared.tasks import adapter
from shared.tasks.weights import form

TASK = "fashion"
NODES, EXAMPLES, HELD_OUT, EPOCHS, BATCH, RATE = 3, 600, 150, 2, 32, 0.05
PLACE = "HINTERLAND_BENCH"
"""Environment variable with the directory that times are written to."""


def examples(node: int, count: int) -> Examples:
    """Pictures with a stripe where their class says."""
    source = np.random.default_rng(node)
    y = source.integers(0, 10, count)
    x = source.normal(0.3, 0.1, (count, 1, 28, 28)).astype(np.float32)
    for number, label in enumerate(y):
        x[number, 0, 2 * label : 2 * label + 3] += 0.5
    return Examples(x, y)


def note(kind: str, **fields: Any) -> None:
    """Append a line with the time; several processes may."""
    with (Path(os.environ[PLACE]) / "times.jsonl").open("a") as file:
        file.write(json.dumps({"kind": kind, "at": time.time(), **fields}) + "\n")


def timed(kind: str, work: Callable[..., Any]) -> Callable[..., Any]:
    """Note how long each call takes."""

    def measured(*args: Any, **kwargs: Any) -> Any:
        begun = time.perf_counter()
        try:
            return work(*args, **kwargs)
        finally:
            note(kind, seconds=time.perf_counter() - begun)

    return measured


class Timed:
    """A task whose training and evaluation are timed, imports left out."""

    def __init__(self, name: str) -> None:
        import torch  # noqa: F401  a process that is new for each message pays for this, and it is no training

        self._task = adapter(name)
        self.train = timed("train", self._task.train)
        self.evaluate = timed("evaluate", self._task.evaluate)

    def on(self, _compute: Compute) -> Timed:
        """Both sides compute on the CPU, and both stay timed."""
        return self

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)


client = ClientApp()
server = ServerApp()


def _node(context: Context) -> int:
    return int(context.node_config["number"])  # type: ignore[arg-type]


def _weights(message: Message) -> dict[str, Any]:
    arrays = message.content["arrays"]
    assert isinstance(arrays, ArrayRecord)
    return {name: array.numpy() for name, array in arrays.items()}


@client.train()
def _train(message: Message, context: Context) -> Message:
    recipe = Recipe(epochs=EPOCHS, batch_size=BATCH, learning_rate=RATE, seed=_node(context))
    trained = Timed(TASK).train(_weights(message), examples(_node(context), EXAMPLES), recipe)
    metrics = MetricRecord({"num-examples": trained.examples, "loss": trained.loss})
    return Message(RecordDict({"arrays": _record(trained.weights), "metrics": metrics}), reply_to=message)


@client.evaluate()
def _evaluate(message: Message, context: Context) -> Message:
    score = Timed(TASK).evaluate(_weights(message), examples(_node(context) + 10, HELD_OUT))
    metrics = MetricRecord({"num-examples": score.examples, "loss": score.loss_sum})
    return Message(RecordDict({"metrics": metrics}), reply_to=message)


def _record(weights: Any) -> ArrayRecord:
    from flwr.app import Array

    return ArrayRecord({name: Array(weights[name]) for name in form(weights)})


class _Clocked(FedAvg):
    """FedAvg as it is, with a line at each round's begin and end."""

    def configure_train(self, server_round: int, *args: Any, **kwargs: Any) -> Any:
        note("begin", round=server_round)
        return super().configure_train(server_round, *args, **kwargs)

    def aggregate_evaluate(self, server_round: int, replies: Any) -> Any:
        metrics = super().aggregate_evaluate(server_round, replies)
        note("end", round=server_round, replies=len(list(replies)))
        return metrics


@server.main()
def _main(grid: Grid, context: Context) -> None:
    moments = Moments(count=1, total=np.array([0.3]), square=np.array([0.2]))
    weights = adapter(TASK).initial(seed=7, moments=moments)
    strategy = _Clocked(min_train_nodes=NODES, min_evaluate_nodes=NODES, min_available_nodes=NODES)
    strategy.start(grid, _record(weights), num_rounds=int(context.run_config["rounds"]))  # type: ignore[arg-type]
    note("over")
