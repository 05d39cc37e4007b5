"""Processes train what threads train, and end with who began them."""

import os
import signal
from concurrent.futures import Future

import numpy as np
import pytest

from shared.errors import FaultError
from shared.task import Examples, Moments, Recipe
from shared.tasks import adapter
from simulations.grid import processes
from simulations.grid.clients import HeldClients
from simulations.grid.processes import Crew
from simulations.images import Share

TASK = "fashion-linear"
FAMILY = adapter(TASK)
WEIGHTS = FAMILY.initial(seed=1, moments=Moments(count=4, total=np.array([2.0]), square=np.array([3.0])))
SIZES = (3, 17, 8, 30, 1)


@pytest.fixture(scope="module")
def clients():
    source = np.random.default_rng(2)
    parts = [Examples(source.random((size, 1, 28, 28), np.float32), source.integers(0, 10, size)) for size in SIZES]
    return HeldClients(TASK, [Share(training=part, holdout=part) for part in parts])


def asked(*positions):
    return [(at, Recipe(epochs=2, batch_size=4, learning_rate=0.05, seed=at)) for at in positions]


def test_a_crew_trains_whom_it_is_asked_to(clients):
    crew = Crew(clients, 2)
    wanted = asked(4, 1, 3)
    trained = dict(crew.train(TASK, WEIGHTS, wanted))
    crew.close()
    assert sorted(trained) == [0, 1, 2]
    for place, (position, recipe) in enumerate(wanted):
        alone = FAMILY.train(WEIGHTS, clients.shares()[position].training, recipe)
        assert trained[place].examples == SIZES[position]
        for name, values in alone.weights.items():
            np.testing.assert_allclose(trained[place].weights[name], values, atol=5e-6)


def test_a_process_that_died_is_said_and_replaced(clients):
    crew = Crew(clients, 1)
    assert len(list(crew.train(TASK, WEIGHTS, asked(0)))) == 1
    for process in crew._pool._processes.values():
        os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(FaultError, match="has died"):
        list(crew.train(TASK, WEIGHTS, asked(0, 1)))
    assert len(list(crew.train(TASK, WEIGHTS, asked(0, 1)))) == 2
    crew.close()


@pytest.mark.parametrize(("clients_", "count", "portions"), [(100, 2, 8), (1000, 2, 63), (5, 8, 5)])
def test_portions_are_small_enough_to_be_spread(monkeypatch, clients_, count, portions):
    class Pool:
        def submit(self, train, task, weights, some):
            handed.append(len(some))
            future = Future()
            future.set_result([(at, position) for at, (position, _) in enumerate(some)])
            return future

    handed = []
    one = Examples(np.zeros((1, 1, 28, 28), dtype=np.float32), np.zeros(1, dtype=np.int64))
    crew = Crew(HeldClients(TASK, [Share(training=one, holdout=one)] * clients_), count)
    monkeypatch.setattr(crew, "_begun", Pool)
    order = list(reversed(range(clients_)))
    answered = dict(crew.train(TASK, WEIGHTS, asked(*order)))
    assert [answered[place] for place in range(clients_)] == order
    assert len(handed) == portions
    assert max(handed) <= processes.MOST
