"""A small real data set, and orders on it."""

import numpy as np
import pytest

from cloud.central.orders import EvaluationOrder, Judged, WarmOrder, Where, write_order
from cloud.models.gates import Bar
from cloud.models.line import LocalRecipe

CPU = Where(device="cpu")


@pytest.fixture
def data(tmp_path):
    """Fourteen windows of each of seven exercises that differ in one channel's height."""
    random = np.random.default_rng(5)
    y = np.repeat(np.arange(7), 14)
    x = random.normal(size=(len(y), 6, 100)).astype(np.float32)
    x[:, 0] += y[:, None]
    order = random.permutation(len(y))
    np.savez(tmp_path / "clinic.npz", x=x[order], y=y[order])
    return tmp_path / "clinic.npz"


@pytest.fixture
def warm(tmp_path, data):
    """Make an order for first weights, and return its directory."""

    def make(name="activity-run-1-warm", *, task="activity", epochs=3, seed=7, **fields):
        recipe = LocalRecipe(batch_size=16, learning_rate=0.05)
        order = {"task": task, "data": str(data), "epochs": epochs, "seed": seed, "recipe": recipe, "where": CPU}
        write_order(tmp_path / name, WarmOrder(**order | fields))
        return tmp_path / name

    return make


@pytest.fixture
def judged(tmp_path, data):
    """Make an order to judge files, and return its directory."""

    def make(files, **fields):
        paths = {n: file if isinstance(file, Judged) else Judged(path=str(file)) for n, file in files.items()}
        order = {"data": str(data), "input_shape": [6, 100], "classes": 7, "files": paths, "where": CPU}
        order |= {"baseline": next(iter(files)), "bar": Bar(accuracy=0.1, least_examples=10)}
        write_order(tmp_path / "judging", EvaluationOrder(**order | fields))
        return tmp_path / "judging"

    return make
