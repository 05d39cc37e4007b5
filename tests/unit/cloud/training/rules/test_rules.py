import importlib

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAvg, FedMedian, FedTrimmedAvg
from flwr.serverapp.strategy import Krum as FlowerKrum
from flwr.serverapp.strategy import MultiKrum as FlowerMultiKrum
from flwr.supercore.task_identity import TaskIdentity

from cloud.training.rules import Krum, Mean, Median, TrimmedMean, combined, least
from cloud.training.rules.krum import select, squared_distances
from cloud.training.updates import UpdateStore
from shared.errors import ContractError
from shared.federation import EXAMPLES

SIZE = 70_001
"""More than two blocks of any rule, and not a whole number of them."""


@pytest.fixture(autouse=True)
def _identity(monkeypatch):
    """Flower's messages read the run they belong to from here, one per process."""
    for name in ("_task_id", "_run_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)


@pytest.fixture
def store(tmp_path):
    with UpdateStore(tmp_path, size=SIZE) as store:
        yield store


def filled(store, *, clients, equal=False, liars=0):
    """Updates around one model, and liars far away; returns them by device name."""
    source = np.random.default_rng(3)
    model = source.standard_normal(SIZE, dtype=np.float32)
    for number in range(clients):
        noise = source.standard_normal(SIZE, dtype=np.float32) * np.float32(0.1 + 0.01 * number)
        vector = model * np.float32(-50) if number < liars else model + noise
        store.add(f"d-{number:03}", vector.astype(np.float32), examples=10 if equal else 10 + 7 * number)
    return dict(zip(store.devices, whole(store), strict=True))


def whole(store):
    """[clients, SIZE]."""
    return np.concatenate([block.values.copy() for block in store.blocks()], axis=1)


def flowers(strategy, vectors, store):
    """What a stock strategy of Flower makes of the same updates."""
    replies = []
    for number, (device, examples) in enumerate(zip(store.devices, store.examples, strict=True)):
        content = RecordDict(
            {"arrays": ArrayRecord({"w": Array(vectors[device])}), "metrics": MetricRecord({EXAMPLES: examples})}
        )
        asked = Message(content=RecordDict(), dst_node_id=number + 1, message_type="train")
        asked.metadata.__dict__["_message_id"] = str(number)
        replies.append(Message(content=content, reply_to=asked))
    arrays, _ = strategy.aggregate_train(1, replies)
    return arrays["w"].numpy()


@pytest.mark.parametrize("clients", [1, 2, 7, 8, 9, 30])
def test_the_mean_is_flowers(store, clients):
    vectors = filled(store, clients=clients)
    np.testing.assert_allclose(combined(Mean(), store), flowers(FedAvg(), vectors, store), atol=2e-6)


def test_the_length_of_a_stretch_leaves_no_trace(store, monkeypatch):
    filled(store, clients=19)
    module = importlib.import_module("cloud.training.rules.mean")  # the package's `mean` is the function
    whole = combined(Mean(), store).tobytes()
    for length in (1 << 10, 12_345, SIZE):
        monkeypatch.setattr(module, "SHORTEST", length)
        assert combined(Mean(), store).tobytes() == whole


@pytest.mark.parametrize(("clients", "share"), [(5, 0.2), (10, 0.2), (11, 0.45), (4, 0.0)])
def test_the_trimmed_mean_is_flowers(store, clients, share):
    vectors = filled(store, clients=clients)
    ours = combined(TrimmedMean(share=share), store)
    np.testing.assert_allclose(ours, flowers(FedTrimmedAvg(beta=share), vectors, store), atol=2e-6)


@pytest.mark.parametrize("clients", [1, 2, 9, 10])
def test_the_median_is_flowers(store, clients):
    vectors = filled(store, clients=clients)
    np.testing.assert_allclose(combined(Median(), store), flowers(FedMedian(), vectors, store), atol=1e-6)


def test_krum_is_flowers(store):
    vectors = filled(store, clients=11, liars=3, equal=True)
    ours = combined(Krum(attackers=3), store)
    np.testing.assert_array_equal(ours, flowers(FlowerKrum(num_malicious_nodes=3), vectors, store))


def test_multi_krum_is_flowers_where_all_count_the_same(store):
    vectors = filled(store, clients=11, liars=3, equal=True)
    theirs = flowers(FlowerMultiKrum(num_malicious_nodes=3, num_nodes_to_select=5), vectors, store)
    np.testing.assert_allclose(combined(Krum(attackers=3, keep=5), store), theirs, atol=2e-6)


@pytest.mark.parametrize("rule", [TrimmedMean(share=0.3), Median(), Krum(attackers=3), Krum(attackers=3, keep=4)])
def test_liars_do_not_move_a_robust_rule_far(store, rule):
    vectors = filled(store, clients=11, liars=3)
    honest = np.mean([vectors[device] for device in store.devices[3:]], axis=0)
    assert np.abs(combined(rule, store) - honest).max() < 1.5
    assert np.abs(combined(Mean(), store) - honest).max() > 5


@pytest.mark.parametrize("rule", [TrimmedMean(), Median(), Krum(attackers=1, keep=2)])
def test_a_robust_rule_ignores_claimed_examples(tmp_path, rule):
    results = []
    for claim in (1, 1 << 24):
        with UpdateStore(tmp_path, size=SIZE) as store:
            vectors = filled(store, clients=7)
            with UpdateStore(tmp_path, size=SIZE) as again:
                for device, vector in vectors.items():
                    again.add(device, vector, examples=claim if device == "d-003" else 1)
                results.append(combined(rule, again).tobytes())
    assert results[0] == results[1]


def test_distances_of_close_vectors_are_not_lost(store):
    filled(store, clients=3)
    vectors = whole(store).astype(np.float64)
    exact = ((vectors[:, None] - vectors[None]) ** 2).sum(axis=2)
    np.testing.assert_allclose(squared_distances(store), exact, rtol=1e-6)


def test_equal_scores_fall_to_the_first_name(store):
    for device in "cab":
        store.add(device, np.zeros(SIZE, np.float32), examples=1)
    assert select(store, attackers=0, keep=2) == ["a", "b"]


def test_too_few_updates_for_a_promise_are_refused(store):
    filled(store, clients=4)
    assert least(Krum(attackers=1)) == 5
    with pytest.raises(ContractError):
        combined(Krum(attackers=1), store)
