"""The rounds of a run over a grid in memory, whose devices answer at once."""

import random

import numpy as np
import pytest
from flwr.app import Message, MetricRecord, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from cloud.training.asking import Roster
from cloud.training.events import RoundFinished, StatisticsTaken
from cloud.training.ledger import Checkpoint, RunLedger
from cloud.training.optimisers import Adagrad, Adam, FedAvg, Momentum, Yogi
from cloud.training.rules import Krum, Mean, Median, TrimmedMean
from cloud.training.spec import Member, RunSpec
from cloud.training.strategy import RunStrategy
from shared import federation as fed
from shared.clock import SystemClock
from shared.errors import TransportError
from shared.tasks.records import FLAT, flat_record, read_arrays, to_record
from shared.tasks.weights import weights_digest

DEVICES = [f"watch-{number}" for number in range(7)]
MEMBERS = [Member(device=device, node=100 + number) for number, device in enumerate(DEVICES)]


@pytest.fixture(autouse=True)
def _identity(monkeypatch):
    """Flower's messages read the run they belong to from here, one per process."""
    for name in ("_task_id", "_run_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)


class MemoryGrid:
    """Devices that move the model by a number of their own, and answer in an order of the network's."""

    def __init__(self, *, mood=0, silent=()):
        self._mood = random.Random(mood)
        self._silent = silent

    def send_and_receive(self, messages, *, timeout=None):
        asked = [message for message in messages if message.metadata.dst_node_id not in self._silent]
        self._mood.shuffle(asked)
        return (self._answer(message) for message in asked)

    def _answer(self, message):
        node = message.metadata.dst_node_id
        if message.metadata.message_type == fed.EVALUATE:
            counts = MetricRecord({fed.EXAMPLES: 4, fed.CORRECT: 2, fed.LOSS_SUM: 1.0})
            return Message(content=RecordDict({fed.METRICS: counts}), reply_to=message)
        weights = read_arrays(message.content[fed.ARRAYS])[FLAT]
        moved = weights + np.float32(0.1 / (node - 90)) * np.cos(weights * node)
        content = RecordDict({
            fed.ARRAYS: flat_record(moved.astype(np.float32)),
            fed.METRICS: MetricRecord({fed.EXAMPLES: node - 95, fed.LOSS: 1.0 / node}),
        })  # fmt: skip
        return Message(content=content, reply_to=message)


def begin(ledger):
    source = np.random.default_rng(1)
    weights = {name: source.standard_normal((30, 7), dtype=np.float32) for name in "ab"}
    checkpoint = Checkpoint(0, weights, {})
    ledger.write_checkpoint(checkpoint)
    registered = dict.fromkeys(DEVICES, 1000)
    ledger.append(StatisticsTaken(at=0.0, registered=registered, holdout=registered, digest=weights_digest(weights)))


def play(directory, grid, *, rounds=3, **terms):
    """Play what is left of `rounds`; return the digest of the weights."""
    ledger = RunLedger(directory)
    if ledger.last_committed() is None:
        begin(ledger)
    start, registered = ledger.last_committed()
    spec = RunSpec(run="run-1", task="activity", members=MEMBERS, seed=7, **terms)
    roster = Roster(MEMBERS, task="activity", ttl_s=10.0)
    strategy = RunStrategy(spec, roster=roster, registered=registered, begin=start, ledger=ledger, clock=SystemClock())
    strategy.start(grid, to_record(start.weights), num_rounds=rounds - start.round, timeout=1.0)
    return weights_digest(strategy.state.weights)


@pytest.mark.parametrize("rule", [Mean(), TrimmedMean(), Median(), Krum(attackers=2, keep=3)])
def test_no_mood_of_the_network_changes_a_bit(tmp_path, rule):
    digests = {play(tmp_path / str(mood), MemoryGrid(mood=mood), rule=rule) for mood in range(4)}
    assert len(digests) == 1


@pytest.mark.parametrize("strategy", [FedAvg(), Momentum(), Adam(rate=0.01), Yogi(), Adagrad(rate=0.01)])
def test_a_run_that_goes_on_from_a_checkpoint_ends_the_same(tmp_path, strategy):
    whole = play(tmp_path / "whole", MemoryGrid(), strategy=strategy)
    for rounds in (1, 2, 3):
        digest = play(tmp_path / "parts", MemoryGrid(mood=rounds), rounds=rounds, strategy=strategy)
    assert digest == whole
    finished = [event for event in RunLedger(tmp_path / "parts").events() if isinstance(event, RoundFinished)]
    assert [event.round for event in finished] == [1, 2, 3]


def test_rules_and_strategies_differ(tmp_path):
    rules = (Mean(), TrimmedMean(), Median(), Krum())
    digests = [play(tmp_path / str(number), MemoryGrid(), rule=rule) for number, rule in enumerate(rules)]
    digests.append(play(tmp_path / "adam", MemoryGrid(), strategy=Adam()))
    assert len(set(digests)) == len(digests)


def test_updates_leave_no_file_behind(tmp_path):
    play(tmp_path, MemoryGrid(), rounds=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["events.jsonl", "round-000.npz", "round-001.npz"]


def test_a_round_with_fewer_updates_than_the_rule_needs_is_tried_again(tmp_path):
    with pytest.raises(TransportError):
        play(tmp_path, MemoryGrid(silent=(100,)), rule=Krum(attackers=2))
    assert RunLedger(tmp_path).last_committed()[0].round == 0
