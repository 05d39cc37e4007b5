"""A writer that is killed before each fsync and rename of its rounds, and again wherever its successor stands."""

import os
import random
import signal
import stat
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.supercore.task_identity import TaskIdentity

from cloud.training.asking import Roster
from cloud.training.events import RoundFinished, StatisticsTaken
from cloud.training.ledger import Checkpoint, RunLedger
from cloud.training.spec import Member, RunSpec
from cloud.training.strategy import RunStrategy
from shared import federation as fed
from shared.clock import SystemClock
from shared.codec import unpack
from shared.tasks.records import from_record, to_record
from shared.tasks.weights import weights_digest

DEVICES = ("a", "b", "c")
ROUNDS = 2
BEGIN = {"w": np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4), "b": np.ones(4, dtype=np.float32)}


class Office(Grid):
    """Devices in this process: what each answers is a function of its seed, in whatever order they answer."""

    def __init__(self, order):
        self._order = random.Random(order)

    def send_and_receive(self, messages, *, timeout=None):
        replies = [self._answer(message) for message in messages]
        self._order.shuffle(replies)
        return replies

    def _answer(self, message):
        wanted = unpack(message.content[fed.CONFIG][fed.INSTRUCTION], fed.Instruction)
        weights = from_record(message.content[fed.ARRAYS], wanted.form)
        if message.metadata.message_type == fed.EVALUATE:
            metrics = MetricRecord({fed.EXAMPLES: 4, fed.CORRECT: 2, fed.LOSS_SUM: 1.0})
            return Message(RecordDict({fed.METRICS: metrics}), reply_to=message)
        source = np.random.default_rng(wanted.seed)
        moved = {
            name: (values + source.normal(0, 0.1, values.shape)).astype(np.float32) for name, values in weights.items()
        }
        metrics = MetricRecord({fed.EXAMPLES: 5, fed.LOSS: 0.5})
        return Message(RecordDict({fed.ARRAYS: to_record(moved), fed.METRICS: metrics}), reply_to=message)

    def set_run(self, run): ...
    @property
    def run(self): ...
    def create_message(self, *args, **kwargs): ...
    def get_node_ids(self):
        return []

    def get_nodes(self):
        return []

    def push_messages(self, messages): ...
    def pull_messages(self, message_ids): ...


def work(directory, *, order, rounds=ROUNDS):
    """What a job does between the statistics and the export; returns the digest."""
    members = [Member(device=device, node=number + 1) for number, device in enumerate(DEVICES)]
    spec = RunSpec(run="run-1", task="fashion", members=members, seed=7, rounds=rounds)
    ledger = RunLedger(directory)
    begin, registered = ledger.last_committed() or _begin(ledger)
    strategy = RunStrategy(
        spec,
        roster=Roster(members, task="fashion", ttl_s=60),
        registered=registered,
        begin=begin,
        ledger=ledger,
        clock=SystemClock(),
    )
    strategy.start(Office(order), to_record(begin.weights), num_rounds=rounds - begin.round, timeout=1.0)
    return weights_digest(strategy.state.weights)


def _begin(ledger):
    begin = Checkpoint(0, BEGIN, {})
    ledger.write_checkpoint(begin)
    registered = dict.fromkeys(DEVICES, 5)
    ledger.append(StatisticsTaken(at=0.0, registered=registered, holdout={}, digest=weights_digest(BEGIN)))
    return begin, registered


def killed_at(directory: Path, number: int, *, torn: bool, rounds: int = ROUNDS) -> bool:
    """Work in a child that is killed before its `number`-th step on the disk; whether it got that far."""
    child = os.fork()
    if child == 0:
        try:
            _arm(number, torn=torn)
            work(directory, order=number, rounds=rounds)
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert status in (0, signal.SIGKILL), "the child failed by itself"
    return status == signal.SIGKILL


def _arm(number, *, torn):
    left = [number]

    def step(real):
        def instead(*args, **kwargs):
            if left[0] == 0:
                if torn and real is fsync:  # half of what was to be synced has reached the disk
                    state = os.fstat(args[0])
                    if stat.S_ISREG(state.st_mode) and state.st_size > 9:
                        os.ftruncate(args[0], state.st_size - 9)
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1
            return real(*args, **kwargs)

        return instead

    fsync, rename = os.fsync, Path.replace
    os.fsync, Path.replace = step(fsync), step(rename)


@pytest.fixture(scope="module", autouse=True)
def identity():
    """Flower's messages read their run from here."""
    before = TaskIdentity._run_id, TaskIdentity._node_id, TaskIdentity._task_id
    TaskIdentity.run_id = TaskIdentity.node_id = TaskIdentity.task_id = 1
    yield
    TaskIdentity._run_id, TaskIdentity._node_id, TaskIdentity._task_id = before


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return work(tmp_path_factory.mktemp("alone"), order=0)


@pytest.mark.parametrize("torn", [False, True])
def test_wherever_a_job_is_killed_the_next_ends_with_the_same_model(tmp_path, undisturbed, torn):
    number = 0
    while killed_at(tmp_path / str(number), number, torn=torn):
        assert work(tmp_path / str(number), order=-number - 1) == undisturbed, f"killed before step {number}"
        number += 1
    assert number > 3 * ROUNDS  # else nothing was killed


def test_a_job_that_is_killed_again_and_again_still_ends(tmp_path):
    """Each attempt is killed after so many steps, which is little more than one round takes."""
    alone = work(tmp_path / "alone", order=0, rounds=4)
    attempts = 0
    while killed_at(tmp_path / "killed", 14, torn=attempts % 2 == 1, rounds=4):
        attempts += 1
        assert attempts < 20
    assert work(tmp_path / "killed", order=3, rounds=4) == alone
    rounds = [event.round for event in RunLedger(tmp_path / "killed").events() if isinstance(event, RoundFinished)]
    assert rounds == [1, 2, 3, 4]
    assert attempts >= 3
