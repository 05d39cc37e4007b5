import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAdagrad, FedAdam, FedAvgM, FedYogi
from flwr.supercore.task_identity import TaskIdentity

from cloud.training.optimisers import Adagrad, Adam, FedAvg, Momentum, Yogi, step
from shared.federation import EXAMPLES

SIZE = 66_000
"""More than one stretch."""


@pytest.fixture(autouse=True)
def _identity(monkeypatch):
    """Flower's messages read the run they belong to from here, one per process."""
    for name in ("_task_id", "_run_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)


def vector(*values):
    return np.array(values, dtype=np.float32)


class NoNodes:
    """A grid without anybody to ask."""

    def get_node_ids(self):
        return [1, 2]


def flowers(strategy, model, combined, round_):
    """The model after a round of a stock strategy whose clients all answer `combined`."""
    try:
        list(strategy.configure_train(round_, ArrayRecord({"w": Array(model)}), ConfigRecord(), NoNodes()))
    except AttributeError as error:
        raise AssertionError("Flower asks more of a grid than this one gives") from error
    content = RecordDict({"arrays": ArrayRecord({"w": Array(combined)}), "metrics": MetricRecord({EXAMPLES: 1})})
    asked = Message(content=RecordDict(), dst_node_id=1, message_type="train")
    asked.metadata.__dict__["_message_id"] = "1"
    arrays, _ = strategy.aggregate_train(round_, [Message(content=content, reply_to=asked)])
    return arrays["w"].numpy()


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (Momentum(momentum=0.5), FedAvgM(server_momentum=0.5)),
        (Momentum(momentum=0.9, rate=0.3), FedAvgM(server_momentum=0.9, server_learning_rate=0.3)),
        (Momentum(momentum=0.0, rate=0.3), FedAvgM(server_momentum=0.0, server_learning_rate=0.3)),
        (Adagrad(), FedAdagrad()),
        (Adam(), FedAdam()),
        (Adam(rate=0.02, beta1=0.5, beta2=0.9, tau=0.01), FedAdam(eta=0.02, beta_1=0.5, beta_2=0.9, tau=0.01)),
        (Yogi(), FedYogi()),
    ],
    ids=lambda value: type(value).__name__,
)
def test_five_rounds_are_flowers(ours, theirs):
    source = np.random.default_rng(5)
    model = source.standard_normal(SIZE, dtype=np.float32)
    expected, state = model.copy(), {}
    for number in range(1, 6):
        way = source.standard_normal(SIZE, dtype=np.float32) * np.float32(0.1)
        expected = flowers(theirs, expected, expected + way, number)
        state = step(ours, model, model + way, state, round_=number)
        np.testing.assert_allclose(model, expected, atol=2e-5, rtol=2e-5)


def test_averaging_takes_the_combined_update_over():
    model = vector(1, 1)
    assert step(FedAvg(), model, vector(2, 3), {}, round_=1) == {}
    assert model.tolist() == [2, 3]


def test_momentum_carries_on_in_the_last_direction():
    model = vector(0)
    state = step(Momentum(momentum=0.5), model, vector(1), {}, round_=1)
    assert model.tolist() == [1]
    state = step(Momentum(momentum=0.5), model, vector(1), state, round_=2)
    assert model.tolist() == [1.5]
    assert state["velocity"].tolist() == [0.5]


@pytest.mark.parametrize("strategy", [FedAvg(), Momentum(), Adam(), Yogi(), Adagrad()])
def test_nobody_moves_the_model_when_all_send_it_back(strategy):
    model = vector(1, -2, 0)
    for number in range(1, 4):
        state = step(strategy, model, model.copy(), {}, round_=number)
        assert model.tolist() == [1, -2, 0]
        assert all(np.isfinite(values).all() for values in state.values())
