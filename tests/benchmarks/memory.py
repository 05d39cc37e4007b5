"""How much a process grows over a round of a run, as the kernel measures it (`VmHWM`).

    python -m tests.benchmarks.memory CLIENTS SIZE [RULE] [STRATEGY]

plays one round of our strategy over a grid in memory, whose devices make their replies one at a time, as the channel
hands them on: training replies, gate, update file, rule, optimiser, checkpoint, evaluation, commit. What Flower's
HTTP client needs to put a reply together is not part of it.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from cloud.training.asking import Roster
from cloud.training.ledger import Checkpoint, RunLedger
from cloud.training.spec import Member, RunSpec
from cloud.training.strategy import RunStrategy
from shared import federation as fed
from shared.clock import SystemClock
from shared.tasks.records import FLAT, to_record


def growth_of_a_round(*, clients: int, size: int, rule: str = "mean", strategy: str = "momentum") -> int:
    """Bytes by which a fresh process that holds a model of `size` weights grows at most during a round."""
    argv = [sys.executable, "-m", "tests.benchmarks.memory", str(clients), str(size), rule, strategy]
    return int(subprocess.run(argv, check=True, capture_output=True, text=True).stdout)


class Devices:
    """A grid whose devices answer one after the other."""

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterator[Message]:
        """Answer lazily: a reply is made when it is asked for."""
        waiting = list(messages)
        while waiting:
            yield self._answer(waiting.pop())

    def _answer(self, message: Message) -> Message:
        if message.metadata.message_type == fed.EVALUATE:
            counts: Any = {fed.EXAMPLES: 4, fed.CORRECT: 2, fed.LOSS_SUM: 1.0}
            return Message(content=RecordDict({fed.METRICS: MetricRecord(counts)}), reply_to=message)
        sent = message.content.array_records[fed.ARRAYS][FLAT]
        metrics: Any = {fed.EXAMPLES: 10, fed.LOSS: 1.0}
        own = bytes(memoryview(sent.data))  # the weights as they were sent, in memory of their own
        arrays = ArrayRecord({FLAT: Array(sent.dtype, sent.shape, sent.stype, own)})
        return Message(content=RecordDict({fed.ARRAYS: arrays, fed.METRICS: MetricRecord(metrics)}), reply_to=message)


def _play(clients: int, size: int, rule: str, strategy: str) -> int:
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 1, 1
    members = [Member(device=f"d-{number:04}", node=number + 1) for number in range(clients)]
    chosen = {"rule": {"type": rule}, "strategy": {"type": strategy}}
    spec = msgspec.convert({"run": "r", "task": "t", "members": members, "seed": 1, **chosen}, RunSpec)
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as directory:
        weights = {"w": np.random.default_rng(1).standard_normal(size, dtype=np.float32)}
        begun = RunStrategy(
            spec,
            roster=Roster(members, task="t", ttl_s=10.0),
            registered={member.device: 10 for member in members},
            begin=Checkpoint(0, weights, {}),
            ledger=RunLedger(Path(directory)),
            clock=SystemClock(),
        )
        before = status("VmRSS")
        begun.start(Devices(), to_record(weights), num_rounds=1, timeout=60.0)  # type: ignore[arg-type]  # a grid's only part that is used
        return growth_since(before)


def growth_since(before: int) -> int:
    """Bytes between that and the most memory that this process ever held."""
    return status("VmHWM") - before


def status(name: str) -> int:
    """A line of the kernel's account of this process, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(name + ":"))


if __name__ == "__main__":
    print(_play(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]))
