"""A federation in one process: real client apps over small data behind a grid of our own, so that rounds take
milliseconds. The data are label-skewed: each device sees two of the classes only."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from flwr.app import Message
from flwr.serverapp import Grid
from flwr.supercore.task_identity import TaskIdentity

import shared.tasks
from cloud.training.asking import Roster
from cloud.training.buffered import BufferedTraining
from cloud.training.events import StatisticsTaken
from cloud.training.ledger import Checkpoint, RunLedger
from cloud.training.optimisers import FedAvg
from cloud.training.spec import Member, RunSpec
from cloud.training.strategy import RunStrategy
from edge.training.client import build_client, handle
from edge.training.dataset import DatasetStore
from shared.clock import VirtualClock
from shared.task import Moments
from shared.tasks.network import NetworkTask
from shared.tasks.records import to_record
from shared.tasks.weights import weights_digest

CLASSES, CHANNELS = 4, 6


def _build():
    from collections import OrderedDict

    from torch import nn

    from shared.tasks.layers import Normalise

    return nn.Sequential(
        OrderedDict(
            normalise=Normalise(CHANNELS, axes=0),
            hidden=nn.Linear(CHANNELS, 16),
            relu=nn.ReLU(),
            head=nn.Linear(16, CLASSES),
        )
    )


TASK = NetworkTask(name="small", labels=tuple("abcd"), input_shape=(CHANNELS,), build=_build)
shared.tasks._OWN["small"] = "tests.small_federation:TASK"


def skewed(device: int, *, examples: int = 60, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Points around a centre for each class; a device holds classes `device` and `device + 1`, modulo four."""
    source = np.random.default_rng((seed, device))
    centres = np.random.default_rng(77).normal(size=(CLASSES, CHANNELS)) * 1.2
    y = np.array([(device + n % 2) % CLASSES for n in range(examples)])
    return (centres[y] + source.normal(size=(examples, CHANNELS))).astype(np.float32), y


class SmallGrid(Grid):
    """Hands each message to its node's app; replies come in the order that `order` makes of them."""

    def __init__(self, apps: dict, *, order: Callable[[list], list] = list) -> None:
        self.apps, self.order, self.closed = apps, order, bool
        self.waiting: dict[str, Message] = {}
        self.silent: set[int] = set()
        self.asked: list[int] = []
        self.before_reply: Callable[[int], None] = lambda node: None
        TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 1, 1

    def set_run(self, run) -> None: ...

    @property
    def run(self):
        raise NotImplementedError

    def create_message(self, *args, **kwargs):
        raise NotImplementedError

    def get_node_ids(self) -> Iterable[int]:
        return list(self.apps)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        ids = []
        for message in messages:
            name = f"message-{len(self.asked)}"
            message.metadata.__dict__["_message_id"] = name
            self.asked.append(message.metadata.dst_node_id)
            self.waiting[name] = message
            ids.append(name)
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        for name in self.order(list(message_ids)):
            message = self.waiting.get(name)
            if message is None or message.metadata.dst_node_id in self.silent:
                continue
            del self.waiting[name]
            node = message.metadata.dst_node_id
            self.before_reply(node)
            yield handle(self.apps[node], message, node)

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterator[Message]:
        ids = list(self.push_messages(list(messages)))
        return self._replies(ids)

    def _replies(self, ids: list[str]) -> Iterator[Message]:
        for reply in self.pull_messages(ids):
            yield reply
            if self.closed():
                return


class Federation:
    """Devices with their data; runs begin, end and are taken up again over them."""

    def __init__(self, directory: Path, *, devices: int = 4, examples: Sequence[int] | None = None) -> None:
        self.directory, self.clock = directory, VirtualClock()
        self.members = [Member(device=f"watch-{n}", node=10 + n) for n in range(devices)]
        self.sizes = list(examples or [60] * devices)
        self.apps = {}
        self.stores = []
        for n, member in enumerate(self.members):
            split = directory / member.device / "small"
            split.mkdir(parents=True, exist_ok=True)
            for name, seed, size in (("train", 1, self.sizes[n]), ("holdout", 2, 40)):
                x, y = skewed(n, examples=size, seed=seed)
                np.savez(split / f"{name}.npz", x=x, y=y)
            self.stores.append(DatasetStore(directory / member.device))
            self.apps[member.node] = build_client(self.stores[-1], clock=self.clock)
        self.grid = SmallGrid(self.apps)

    def close(self) -> None:
        for store in self.stores:
            store.close()

    def spec(self, **fields) -> RunSpec:
        base = {"run": "small-run-1", "task": "small", "members": self.members, "seed": 3, "strategy": FedAvg()}
        return RunSpec(**(base | fields))

    def ledger(self, spec: RunSpec) -> RunLedger:
        """The run's ledger, with its statistics taken."""
        ledger = RunLedger(self.directory / "runs" / spec.run)
        if ledger.last_committed() is None:
            moments = Moments(count=1, total=np.zeros(CHANNELS), square=np.ones(CHANNELS))
            weights = TASK.initial(seed=spec.seed, moments=moments)
            ledger.write_checkpoint(Checkpoint(0, weights, {}))
            registered = {member.device: size for member, size in zip(self.members, self.sizes, strict=True)}
            digest = weights_digest(weights)
            ledger.append(StatisticsTaken(at=0.0, registered=registered, holdout={}, digest=digest))
        return ledger

    def run(self, spec: RunSpec, *, upto: int | None = None) -> RunLedger:
        """Do what is left of the run's rounds, or those up to `upto`."""
        ledger = self.ledger(spec)
        begin, registered = ledger.last_committed()
        roster = Roster(spec.members, task=spec.task, run=spec.run, ttl_s=60.0)
        strategy = RunStrategy(spec, roster=roster, registered=registered, begin=begin, ledger=ledger, clock=self.clock)
        left = (spec.rounds if upto is None else upto) - begin.round
        strategy.start(self.grid, to_record(begin.weights), num_rounds=left, timeout=60.0)
        return ledger

    def run_buffered(self, spec: RunSpec) -> RunLedger:
        """The same with a buffer; waiting lets a second pass."""
        ledger = self.ledger(spec)
        begin, registered = ledger.last_committed()
        roster = Roster(spec.members, task=spec.task, run=spec.run, ttl_s=60.0)
        training = BufferedTraining(
            spec,
            roster=roster,
            registered=registered,
            begin=begin,
            ledger=ledger,
            clock=self.clock,
            sleep=lambda _: self.clock.advance(1.0),
        )
        training.run(self.grid)
        return ledger
