"""Averaging a round: exact fixed-point sums against the weighted mean of Flower's FedAvg."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator

import numpy as np
from cloud.training.aggregate import RunningMean
from flwr.app import Array, ArrayRecord, MetricRecord, RecordDict
from flwr.serverapp.strategy.strategy_utils import aggregate_arrayrecords

from shared.federation import EXAMPLES
from shared.task import Weights
from tests.benchmarks.figure import Figure, compare, in_turns

CLIENTS = 20
SHAPES = {"embedding": (1000, 500), "hidden": (500, 500), "head": (500, 10)}


def measure(*, turns: int = 5) -> Iterator[Figure]:
    """Time and peak memory for one round of `CLIENTS` updates of 0.76 M weights each."""
    generator = np.random.default_rng(1)
    updates = [_update(generator) for _ in range(CLIENTS)]
    replies = [_reply(update) for update in updates]

    def ours() -> Weights:
        mean = RunningMean(updates[0])
        for update in updates:
            mean.add(update, 100)
        return mean.mean()

    def peer() -> ArrayRecord:
        return aggregate_arrayrecords(replies, EXAMPLES)

    _check_same(ours(), peer())
    seconds = in_turns(ours, peer, turns=turns)
    yield compare(
        name="aggregation.time", ours=seconds[0], peer=seconds[1], unit="s", better="lower",
        what_ours=f"exact sums of {CLIENTS} updates, the same bits in any order", what_peer="flwr 1.41 FedAvg, floats",
    )  # fmt: skip
    held = sum(values.nbytes for update in updates for values in update.values())
    yield compare(
        name="aggregation.memory", ours=_peak(ours) / 2**20, peer=(_peak(peer) + held) / 2**20, unit="MiB",
        better="lower", what_ours="accumulators; an update is forgotten once it is added",
        what_peer=f"accumulators and all {CLIENTS} updates, which FedAvg holds until the last has come",
    )  # fmt: skip


def _update(generator: np.random.Generator) -> Weights:
    return {name: generator.standard_normal(shape).astype(np.float32) for name, shape in SHAPES.items()}


def _reply(update: Weights) -> RecordDict:
    arrays = {name: Array(values) for name, values in update.items()}
    return RecordDict({"arrays": ArrayRecord(arrays), "metrics": MetricRecord({EXAMPLES: 100})})


def _check_same(ours: Weights, peer: ArrayRecord) -> None:
    for name, array in peer.items():
        np.testing.assert_allclose(ours[name], array.numpy(), atol=1e-6)


def _peak(work: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
