"""Flower's apps and strategies over our Grid, unmodified."""

import random

import numpy as np
import pytest
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.serverapp import ServerApp
from flwr.serverapp.strategy import FedAvg, FedMedian

from shared import federation as fed
from shared.federation import Instruction
from shared.task import Examples, Moments
from shared.tasks import adapter
from shared.tasks.records import from_record, to_record
from shared.tasks.weights import form
from simulations.grid.clients import HeldClients, instruct
from simulations.grid.vectorised import FIRST_NODE, VectorisedGrid
from simulations.images import Share

TASK = "fashion-linear"
FAMILY = adapter(TASK)
WEIGHTS = FAMILY.initial(seed=1, moments=Moments(count=4, total=np.array([2.0]), square=np.array([3.0])))
FORM = form(WEIGHTS)
WANTED = Instruction(task=TASK, form=FORM, seed=9, epochs=2, batch_size=4, learning_rate=0.05)


def examples(source, count):
    y = source.integers(0, 10, count)
    return Examples((source.random((count, 1, 28, 28)) + y.reshape(-1, 1, 1, 1) / 10).astype(np.float32), y)


@pytest.fixture(scope="module")
def clients():
    source = np.random.default_rng(2)
    shares = [Share(training=examples(source, size), holdout=examples(source, 5)) for size in (3, 17, 8, 30, 1)]
    return HeldClients(TASK, shares)


def run(grid, strategy, rounds=3):
    results = []
    app = ServerApp()

    @app.main()
    def main(grid, context):
        random.seed(4)  # Flower's strategies draw their cohorts from the global generator
        config = instruct(WANTED)
        results.append(
            strategy.start(
                grid=grid,
                initial_arrays=to_record(WEIGHTS),
                num_rounds=rounds,
                train_config=config,
                evaluate_config=ConfigRecord(dict(config)),
            )
        )

    grid.execute(app)
    return results[0]


@pytest.mark.parametrize("strategy", [FedAvg, lambda: FedAvg(fraction_train=0.6), FedMedian])
def test_a_strategy_of_flower_ends_where_one_client_after_the_other_ends(clients, strategy):
    together = run(VectorisedGrid(clients, workers=2), strategy())
    alone = run(VectorisedGrid(clients, together=False), strategy())
    left, right = (from_record(result.arrays, FORM) for result in (together, alone))
    for name in FORM:
        np.testing.assert_allclose(left[name], right[name], atol=1e-5)
    assert not np.allclose(left["head.weight"], WEIGHTS["head.weight"])
    for round_ in (1, 2, 3):
        ours, theirs = (r.evaluate_metrics_clientapp[round_] for r in (together, alone))
        assert ours[fed.CORRECT] == theirs[fed.CORRECT]
        assert ours[fed.LOSS_SUM] == pytest.approx(theirs[fed.LOSS_SUM], rel=1e-4)


def ask(kind=fed.TRAIN, node=FIRST_NODE, wanted=WANTED, weights=WEIGHTS):
    return Message(RecordDict({fed.ARRAYS: to_record(weights), fed.CONFIG: instruct(wanted)}), node, kind)


def test_clients_train_together_unless_told_otherwise(clients, monkeypatch):
    grid = VectorisedGrid(clients)
    grid.execute(ServerAppThatDoesNothing)
    asked = []
    monkeypatch.setattr(grid, "_one", lambda message, position: asked.append(position))
    replies = list(grid.send_and_receive([ask(), ask(fed.EVALUATE)]))
    assert asked == []
    assert all(reply.has_content() for reply in replies)


def test_an_instruction_it_does_not_know_goes_through_the_app(clients, monkeypatch):
    grid = VectorisedGrid(clients)
    grid.execute(ServerAppThatDoesNothing)
    message = ask()
    message.content[fed.CONFIG]["proximal-mu"] = 0.1
    asked = []
    monkeypatch.setattr(grid, "_one", lambda message, position: asked.append(position))
    list(grid.send_and_receive([message]))
    assert asked == [0]


def test_a_node_that_is_not_there_and_weights_that_do_not_fit(clients):
    grid = VectorisedGrid(clients)
    grid.execute(ServerAppThatDoesNothing)
    bad = ask(weights={"head.bias": np.zeros(3, dtype=np.float32)})
    replies = list(grid.send_and_receive([ask(node=99), bad, ask()]))
    assert [reply.has_error() for reply in replies] == [True, True, False]
    assert "no node 99" in replies[0].error.reason


def test_messages_are_answered_once_and_in_any_portions(clients):
    grid = VectorisedGrid(clients)
    grid.execute(ServerAppThatDoesNothing)
    first, second = grid.push_messages([ask(), ask(node=FIRST_NODE + 1)])
    assert [reply.metadata.reply_to_message_id for reply in grid.pull_messages([second])] == [second]
    assert [reply.metadata.src_node_id for reply in grid.pull_messages([first, second])] == [FIRST_NODE]
    assert grid.pull_messages([first]) == []


def test_a_streaming_grid_trains_when_it_is_read(clients):
    trained = []
    grid = VectorisedGrid(clients, streaming=True, progress=trained.append)
    grid.execute(ServerAppThatDoesNothing)
    replies = grid.send_and_receive([ask()])
    assert trained == []
    assert len(list(replies)) == 1
    assert trained == [1]


def ServerAppThatDoesNothing(grid, context):  # noqa: N802 - stands where an app is named
    """Let the Grid tell Flower which run its messages belong to."""
