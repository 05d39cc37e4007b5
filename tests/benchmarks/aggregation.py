"""Combining a round: updates read back from their file, against Flower's FedAvg and a bare copy of the same bytes."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, MetricRecord, RecordDict
from flwr.serverapp.strategy.strategy_utils import aggregate_arrayrecords
from numpy.typing import NDArray

from cloud.training.rules import Mean, combined
from cloud.training.updates import UpdateStore
from shared.federation import EXAMPLES
from tests.benchmarks.figure import Figure, compare, in_turns
from tests.benchmarks.memory import growth_of_a_round

CLIENTS = 50
SIZE = 10_000_000


def measure(*, turns: int = 5, clients: int = CLIENTS, size: int = SIZE) -> Iterator[Figure]:
    """Time and memory of one round of `clients` updates of `size` weights each: 2 GB of float32 by default."""
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as directory, UpdateStore(Path(directory), size=size) as updates:
        yield from _times(updates, turns, clients)
    few, many = (growth_of_a_round(clients=count, size=size) for count in (6, clients))
    yield compare(
        name="aggregation.memory", ours=many / (4 * size), peer=few / (4 * size), unit="models", better="lower",
        what_ours=f"peak growth of a process (VmHWM) over a round of {clients} clients: replies, gate, file, rule,"
        " step, checkpoint", what_peer="the same with 6 clients",
    )  # fmt: skip


def _times(updates: UpdateStore, turns: int, clients: int) -> Iterator[Figure]:
    source = np.random.default_rng(1)
    vectors = [source.standard_normal(updates.size, dtype=np.float32) for _ in range(clients)]
    for number, vector in enumerate(vectors):
        updates.add(f"d-{number:04}", vector, examples=100 + number)
    replies = [_reply(vector, 100 + number) for number, vector in enumerate(vectors)]
    room = np.zeros_like(vectors[0])
    copies = [room.copy() for _ in vectors]

    def ours() -> NDArray[np.float32]:
        return combined(Mean(), updates)

    def peer() -> ArrayRecord:
        return aggregate_arrayrecords(replies, EXAMPLES)

    def copy() -> None:
        for into, vector in zip(copies, vectors, strict=True):
            np.copyto(into, vector)

    np.testing.assert_allclose(ours(), peer()["w"].numpy(), atol=1e-6)
    volume = f"{clients} updates of {updates.size / 1e6:g} M float32, {4 * clients * updates.size / 1e9:.3g} GB"
    seconds = in_turns(ours, peer, turns=turns)
    yield compare(
        name="aggregation.time", ours=seconds[0], peer=seconds[1], unit="s", better="lower",
        what_ours=f"weighted mean of {volume}, read from their file in the page cache, two threads",
        what_peer="flwr 1.41 FedAvg's aggregation of the same updates, from replies in memory",
    )  # fmt: skip
    seconds = in_turns(ours, copy, turns=turns)
    gigabytes = 4 * clients * updates.size / 1e9
    yield compare(
        name="aggregation.bandwidth", ours=gigabytes / seconds[0], peer=gigabytes / seconds[1], unit="GB/s",
        better="higher", what_ours=f"weighted mean of {volume}, as above: bytes of the updates over its seconds",
        what_peer="numpy copies the same bytes from memory to memory that is mapped already, one thread",
    )  # fmt: skip


def _reply(vector: NDArray[np.float32], examples: int) -> RecordDict:
    return RecordDict({"arrays": ArrayRecord({"w": Array(vector)}), "metrics": MetricRecord({EXAMPLES: examples})})
