import tracemalloc

import numpy as np
import pytest

from cloud.training.aggregate import LARGEST, MOST_EXAMPLES, RunningMean
from shared.errors import ContractError


def weights(*values):
    return {"w": np.array(values, dtype=np.float32)}


def test_the_mean_is_weighted_by_examples():
    mean = RunningMean(weights(0, 0))
    mean.add(weights(1, -2), 1)
    mean.add(weights(5, 2), 3)
    assert mean.mean()["w"].tolist() == [4.0, 1.0]
    assert mean.examples == 4
    assert mean.updates == 2


def test_equal_weights_stay_what_they_are():
    mean = RunningMean(weights(0, 0, 0))
    for _ in range(7):
        mean.add(weights(0.1, -3.7e-2, 12345.678), 13)
    assert mean.mean()["w"].tobytes() == weights(0.1, -3.7e-2, 12345.678)["w"].tobytes()


def test_the_extremes_do_not_overflow():
    mean = RunningMean(weights(0, 0))
    mean.add(weights(LARGEST, -LARGEST), MOST_EXAMPLES - 1)
    mean.add(weights(LARGEST, -LARGEST), 1)
    assert mean.mean()["w"].tolist() == [LARGEST, -LARGEST]
    with pytest.raises(ContractError):
        mean.add(weights(0, 0), 1)


def test_nothing_has_no_mean():
    with pytest.raises(ContractError):
        RunningMean(weights(0)).mean()


def test_memory_does_not_grow_with_the_number_of_clients():
    model = {"w": np.zeros(100_000, dtype=np.float32)}
    mean = RunningMean(model)
    source = np.random.default_rng(1)

    def peak_of(clients):
        tracemalloc.start()
        for _ in range(clients):
            mean.add({"w": source.normal(size=100_000).astype(np.float32)}, 10)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    peak_of(1)
    assert peak_of(40) < 1.1 * peak_of(2)
