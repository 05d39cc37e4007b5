"""Many clients at once end where each would have ended alone."""

from collections import OrderedDict
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.task import Examples, Moments, Recipe
from shared.tasks import adapter
from shared.tasks.layers import MeanOver, Normalise
from shared.tasks.network import NetworkTask
from shared.tasks.stacked import NotStackableError, stack

TOLERANCE = 5e-6
TASKS = ("activity", "fashion", "fashion-linear")


def clients_of(task, sizes, *, epochs=2, batch_size=8, scale=1.0):
    source = np.random.default_rng(5)
    made = []
    for seed, size in enumerate(sizes):
        x = (source.standard_normal((size, *task.input_shape)) * scale).astype(np.float32)
        recipe = Recipe(epochs=epochs, batch_size=batch_size, learning_rate=0.02 + 0.01 * (seed % 2), seed=seed)
        made.append((Examples(x, source.integers(0, len(task.labels), size)), recipe))
    return made


def first_weights(task):
    channels = task.input_shape[0]
    return task.initial(seed=3, moments=Moments(count=4, total=np.full(channels, 4.0), square=np.full(channels, 20.0)))


def assert_same(task, clients, *, workers=1):
    weights = first_weights(task)
    together = dict(task.train_many(weights, clients, workers=workers))
    assert sorted(together) == list(range(len(clients)))
    for position, (data, recipe) in enumerate(clients):
        alone = task.train(weights, data, recipe)
        assert list(together[position].weights) == list(alone.weights)
        for name, values in alone.weights.items():
            np.testing.assert_allclose(together[position].weights[name], values, atol=TOLERANCE, rtol=1e-4)
        assert together[position].loss == pytest.approx(alone.loss, abs=1e-5)
        assert together[position].examples == alone.examples
        assert together[position].steps == alone.steps


@pytest.mark.parametrize("name", TASKS)
def test_ragged_clients_over_several_epochs(name):
    task = adapter(name)
    assert_same(task, clients_of(task, (5, 24, 1, 17, 0, 8)), workers=2)


def test_clients_of_different_epochs_and_batch_sizes():
    task = adapter("fashion-linear")
    clients = [
        client
        for epochs, size in ((1, 4), (3, 16), (2, 64))
        for client in clients_of(task, (9, 20), epochs=epochs, batch_size=size)
    ]
    assert_same(task, clients)


def test_each_clients_gradient_is_clipped_by_its_own_norm():
    task = adapter("fashion-linear")
    assert_same(task, clients_of(task, (12, 6)) + clients_of(task, (12,), scale=50.0))


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 20), min_size=1, max_size=6), st.integers(1, 3), st.integers(1, 9))
def test_any_sizes(sizes, epochs, batch_size):
    task = adapter("fashion-linear")
    assert_same(task, clients_of(task, sizes, epochs=epochs, batch_size=batch_size))


@pytest.mark.parametrize("cache_bytes", [100_000, 40_000], ids=["three clients of 31 KB", "one client"])
def test_more_clients_than_a_chunk_takes(monkeypatch, cache_bytes):
    monkeypatch.setattr("shared.tasks.network_many.CACHE_BYTES", cache_bytes)
    task = adapter("fashion-linear")
    assert_same(task, clients_of(task, (3, 9, 4, 12, 7, 1, 20)), workers=2)


def test_the_same_clients_give_the_same_bytes():
    task = adapter("fashion")
    clients, weights = clients_of(task, (9, 5, 12)), first_weights(task)
    one, two = (dict(task.train_many(weights, clients, workers=workers)) for workers in (1, 2))
    for position in one:
        for name, values in one[position].weights.items():
            assert np.array_equal(values, two[position].weights[name])


def test_no_clients_at_all():
    task = adapter("fashion-linear")
    assert list(task.train_many(first_weights(task), [])) == []
    assert task.evaluate_many(first_weights(task), []) == []


@pytest.mark.parametrize("name", TASKS)
def test_scores_of_many(name):
    task = adapter(name)
    weights = first_weights(task)
    parts = [data for data, _ in clients_of(task, (5, 0, 12))]
    for score, part in zip(task.evaluate_many(weights, parts), parts, strict=True):
        alone = task.evaluate(weights, part)
        assert (score.correct, score.examples) == (alone.correct, alone.examples)
        assert score.loss_sum == pytest.approx(alone.loss_sum, abs=1e-4)


def own_task(*layers):
    def build():
        module = torch.nn.Sequential()
        module.add_module("normalise", Normalise(2, axes=0))
        for at, make in enumerate(layers):
            module.add_module(f"layer{at}", make())
        return module

    return NetworkTask(name="own", labels=("a", "b", "c"), input_shape=(2,), build=build)


def test_a_module_of_unknown_layers_goes_through_vmap():
    task = own_task(lambda: torch.nn.Linear(2, 4), torch.nn.Tanh, lambda: torch.nn.Linear(4, 3))
    assert_same(task, clients_of(task, (5, 9)))


@pytest.mark.parametrize(
    "layer",
    [lambda: torch.nn.Dropout(0.5), lambda: torch.nn.BatchNorm1d(2)],
    ids=["draws random numbers", "keeps statistics"],
)
def test_what_cannot_be_stacked_says_so(layer):
    module = own_task(layer, lambda: torch.nn.Linear(2, 3)).build().train()
    with pytest.raises(NotStackableError):
        stack(module, Examples(np.ones((2, 2), dtype=np.float32), np.zeros(2, dtype=np.int64)), torch.device("cpu"))


def test_what_cannot_be_stacked_is_trained_one_by_one():
    task = own_task(lambda: torch.nn.Dropout(0.5), lambda: torch.nn.Linear(2, 3))
    clients, weights = clients_of(task, (4, 6)), first_weights(task)
    for position, trained in task.train_many(weights, clients):
        alone = task.train(weights, *clients[position])
        assert all(np.array_equal(trained.weights[name], values) for name, values in alone.weights.items())


def test_a_recipe_that_pulls_is_followed():
    task = adapter("fashion-linear")
    pulled = [(data, replace(recipe, proximal=5.0)) for data, recipe in clients_of(task, (6, 9))]
    assert_same(task, pulled)


def test_products_large_enough_for_onednn(monkeypatch):
    monkeypatch.setattr("shared.tasks.stacked_layers.LARGE", 1)
    assert_same(adapter("fashion"), clients_of(adapter("fashion"), (20, 9, 8)))


@pytest.mark.parametrize(
    ("layers", "by_hand"),
    [
        ((torch.nn.Flatten, torch.nn.ReLU, lambda: torch.nn.Linear(18, 3)), True),
        ((torch.nn.Flatten, lambda: MeanOver(1)), False),
        ((torch.nn.Flatten,), False),
    ],
    ids=["a matrix reads it", "something else reads it", "nothing reads it"],
)
def test_what_is_flattened_may_lie_in_our_order_only_where_a_matrix_reads_it(layers, by_hand):
    def build():
        convolution = torch.nn.Conv2d(1, 2, 2)
        return torch.nn.Sequential(Normalise(1, axes=2), convolution, *(make() for make in layers))

    module = build().train()
    stacked = stack(module, Examples(np.ones((2, 1, 4, 4), dtype=np.float32), np.zeros(2)), torch.device("cpu"))
    assert bool(stacked.columns) == by_hand
    if by_hand:
        task = NetworkTask(name="own", labels=("a", "b", "c"), input_shape=(1, 4, 4), build=named(build))
        assert_same(task, clients_of(task, (5, 9)))


def named(build):
    def made():
        parts = list(build())
        return torch.nn.Sequential(
            OrderedDict([("normalise", parts[0]), *((f"l{i}", p) for i, p in enumerate(parts[1:]))])
        )

    return made
