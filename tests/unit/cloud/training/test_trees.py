"""Runs of models that grow: Flower's bagging behind our gate, from statistics to the judged file."""

import json
import random

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord

from cloud.models.gates import Bar
from cloud.models.line import LocalRecipe
from cloud.models.variants import FLOAT, INT8
from cloud.training.asking import Roster
from cloud.training.events import Cause, StatisticsTaken, UpdateRefused
from cloud.training.ledger import Checkpoint, RunLedger
from cloud.training.rules import Median
from cloud.training.spec import Member, RunSpec
from cloud.training.tree_terms import check_trees
from cloud.training.trees import TreesStrategy
from shared import federation as fed
from shared.clock import VirtualClock
from shared.errors import RefusedError
from shared.task import Examples
from shared.tasks import adapter
from shared.tasks.records import to_record
from shared.tasks.weights import weights_digest
from tests.in_process_run import InProcessGrid, devices, run

TASK = adapter("activity-trees")
LOCAL = LocalRecipe(learning_rate=0.8)


def windows(count, seed):
    source = np.random.default_rng(seed)
    y = source.integers(0, len(TASK.labels), count)
    x = source.normal(size=(count, *TASK.input_shape)) * (1.0 + 0.3 * y.reshape(-1, 1, 1)) + y.reshape(-1, 1, 1) / 4
    return Examples(x.astype(np.float32), y.astype(np.int64))


@pytest.fixture
def stores(tmp_path):
    made = devices(tmp_path, TASK.name, [(windows(70, 2 * n), windows(30, 2 * n + 1)) for n in range(4)])
    yield made
    for store in made:
        store.close()


class MoodyGrid(InProcessGrid):
    """Answers in any order; `lies` changes what a node sends as its tree."""

    def __init__(self, stores, *, mood=0, lies=None):
        super().__init__(stores)
        self._mood = random.Random(mood)
        self._lies = lies or {}

    def pull_messages(self, message_ids):
        replies = super().pull_messages(message_ids)
        for reply in replies:
            lie = self._lies.get(reply.metadata.src_node_id)
            if lie and reply.metadata.message_type == fed.TRAIN:
                honest = reply.content[fed.ARRAYS][fed.BOOSTER].numpy().tobytes()
                reply.content[fed.ARRAYS] = ArrayRecord({fed.BOOSTER: Array(np.frombuffer(lie(honest), np.uint8))})
        self._mood.shuffle(replies)
        return replies


def play(directory, grid, stores, *, rounds=3, upto=None, **fields):
    """The rounds alone; return the ledger and the final weights."""
    members = [Member(device=f"device-{n}", node=100 + n) for n in range(len(stores))]
    spec = RunSpec(run="run-1", task=TASK.name, members=members, seed=3, rounds=rounds, local=LOCAL, **fields)
    ledger = RunLedger(directory)
    if ledger.last_committed() is None:
        weights = TASK.initial(seed=3, moments=None)
        ledger.write_checkpoint(Checkpoint(0, weights, {}))
        registered = {member.device: 70 for member in members}
        ledger.append(StatisticsTaken(at=0.0, registered=registered, holdout={}, digest=weights_digest(weights)))
    begin, registered = ledger.last_committed()
    roster = Roster(members, task=TASK.name, ttl_s=10.0)
    strategy = TreesStrategy(
        spec, task=TASK, roster=roster, registered=registered, begin=begin, ledger=ledger, clock=VirtualClock()
    )
    strategy.start(grid, to_record(begin.weights), num_rounds=(upto or rounds) - begin.round, timeout=1.0)
    return ledger, strategy.state.weights


def test_a_run_goes_the_whole_way(stores, tmp_path):
    spec = {"task": TASK.name, "seed": 5, "rounds": 5, "local": LOCAL, "bar": Bar(accuracy=0.8)}
    one, two = (run(tmp_path / name, stores, **spec) for name in ("one", "two"))
    assert one.digest == two.digest
    assert one.admitted == [FLOAT], one.summary
    assert INT8 not in one.files
    assert one.rounds[-1].accuracy > one.rounds[0].accuracy
    assert one.scores.parity < 1e-4
    weights = RunLedger(tmp_path / "one").last_committed()[0].weights
    assert TASK.shape.check(weights) == 5 * len(stores)


def test_no_order_of_arrival_changes_a_bit(stores, tmp_path):
    digests = {weights_digest(play(tmp_path / str(mood), MoodyGrid(stores, mood=mood), stores)[1]) for mood in range(3)}
    assert len(digests) == 1


def test_a_run_that_goes_on_from_a_checkpoint_ends_the_same(stores, tmp_path):
    whole = weights_digest(play(tmp_path / "whole", MoodyGrid(stores), stores)[1])
    for upto in (1, 2, 3):
        ledger, weights = play(tmp_path / "parts", MoodyGrid(stores, mood=upto), stores, upto=upto)
    assert weights_digest(weights) == whole == weights_digest(ledger.last_committed()[0].weights)


def times(factor):
    def lie(honest):
        file = json.loads(honest)
        (tree,) = file["learner"]["gradient_booster"]["model"]["trees"]
        tree["leaf_weights"] = [value * factor for value in tree["leaf_weights"]]
        return json.dumps(file).encode()

    return lie


@pytest.mark.parametrize("lie", [times(1e6), times(100.0), lambda _: b"{}", lambda honest: honest[:-5], lambda _: b""])
def test_who_sends_no_honest_tree_is_quarantined_and_the_others_go_on(stores, tmp_path, lie):
    ledger, weights = play(tmp_path / "lied", MoodyGrid(stores, lies={102: lie}), stores, rounds=4)
    refused = [event for event in ledger.events() if isinstance(event, UpdateRefused)]
    assert [(event.round, event.device, event.cause) for event in refused] == [
        (number, "device-2", Cause.GATE) for number in (1, 2, 3)
    ]
    assert TASK.shape.check(weights) == 4 * 3
    assert float(np.abs(TASK.logits(weights, windows(20, 1).x)).max()) < 4 * TASK.greatest_leaf(0.8)


def test_nothing_of_a_device_but_its_tree_goes_on(stores, tmp_path):
    def talkative(honest):
        file = json.loads(honest)
        file["learner"]["attributes"] = {"note": "x" * 1000}
        file["learner"]["gradient_booster"]["model"]["gbtree_model_param"]["num_parallel_tree"] = "1000000"
        return json.dumps(file).encode()

    plain = play(tmp_path / "plain", MoodyGrid(stores), stores)[1]
    told = play(tmp_path / "told", MoodyGrid(stores, lies={101: talkative}), stores)[1]
    assert weights_digest(plain) == weights_digest(told)


@pytest.mark.parametrize("fields", [{"rule": Median()}, {"local": LocalRecipe(proximal=0.1)}, {"local_parts": ("a.",)}])
def test_what_only_averages_can_give_is_refused(fields):
    members = [Member(device=f"device-{n}", node=n) for n in range(3)]
    with pytest.raises(RefusedError, match="added, not averaged"):
        check_trees(RunSpec(run="run-1", task=TASK.name, members=members, seed=1, **fields))
