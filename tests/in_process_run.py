"""A federated run in one process: the job's phases and strategy unmodified, devices' client apps called directly."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from flwr.app import Message
from flwr.serverapp import Grid
from flwr.supercore.task_identity import TaskIdentity

from cloud.training.job import _Conductor
from cloud.training.ledger import RunLedger
from cloud.training.result import RunResult
from cloud.training.spec import Member, RunSpec, check
from edge.training.client import build_client, handle
from edge.training.dataset import DatasetStore
from shared.clock import SystemClock
from shared.task import Examples


class InProcessGrid(Grid):
    """Flower's `Grid` over client apps in this process; node n is the n-th store."""

    def __init__(self, stores: Iterable[DatasetStore]) -> None:
        self._apps = {100 + number: build_client(store) for number, store in enumerate(stores)}
        self._waiting: dict[str, Message] = {}
        TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 2, 3

    def set_run(self, run: object) -> None: ...

    @property
    def run(self) -> object:
        return None

    def create_message(self, *arguments: object, **named: object) -> Message:
        raise NotImplementedError("Flower's own, deprecated there: messages are made by their class")

    def get_node_ids(self) -> list[int]:
        return list(self._apps)

    def online(self) -> set[int]:
        return set(self._apps)

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        pushed = list(messages)
        for message in pushed:
            message.metadata.__dict__["_message_id"] = message.object_id
            node = message.metadata.dst_node_id
            self._waiting[message.object_id] = handle(self._apps[node], message, node)
        return [message.metadata.message_id for message in pushed]

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        return [self._waiting.pop(each) for each in message_ids if each in self._waiting]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        return self.pull_messages(self.push_messages(messages))


def devices(directory: Path, task: str, parts: Iterable[tuple[Examples, Examples]]) -> list[DatasetStore]:
    """A data set store for each (training, hold-out) pair."""
    stores = []
    for number, splits in enumerate(parts):
        home = directory / f"device-{number}"
        (home / task).mkdir(parents=True)
        for name, split in zip(("train", "holdout"), splits, strict=True):
            np.savez(home / task / f"{name}.npz", x=split.x, y=split.y)
        stores.append(DatasetStore(home))
    return stores


def run(directory: Path, stores: list[DatasetStore], **spec: object) -> RunResult:
    """Conduct a run over all devices, from statistics to the judgement."""
    members = [Member(device=f"device-{number}", node=100 + number) for number in range(len(stores))]
    wanted = check(RunSpec(**{"run": "run-1", "members": members, **spec}))
    grid = InProcessGrid(stores)
    return _Conductor(wanted, RunLedger(directory), grid, SystemClock()).conduct(grid)
