"""Trees grown with XGBoost: what they say in its own runtime, in tables and in ONNX Runtime."""

import numpy as np
import onnxruntime
import pytest

from shared.errors import ContractError
from shared.modelfile import check_model
from shared.task import Examples, Recipe, TaskAdapter
from shared.task_trees import GrowsTrees
from shared.tasks import adapter
from shared.tasks.trees.tables import LEAF
from shared.tasks.trees.task import window_table

TASK = adapter("activity-trees")


def examples(count=90, seed=0):
    """Classes differ in their means and in how hard they shake."""
    source = np.random.default_rng(seed)
    y = source.integers(0, len(TASK.labels), count)
    x = source.normal(size=(count, *TASK.input_shape)) * (1.0 + 0.3 * y.reshape(-1, 1, 1)) + y.reshape(-1, 1, 1) / 4
    return Examples(x.astype(np.float32), y.astype(np.int64))


def recipe(seed=1, rate=0.5, **fields):
    return Recipe(epochs=1, batch_size=1, learning_rate=rate, seed=seed, **fields)


def grown(trees, data, rate=0.5):
    weights = TASK.initial(seed=0, moments=None)
    for seed in range(trees):
        weights = TASK.train(weights, data, recipe(seed, rate)).weights
    return weights


def test_it_is_a_task_that_grows():
    assert isinstance(TASK, GrowsTrees)
    checked: TaskAdapter = TASK
    assert not isinstance(adapter("activity-linear"), GrowsTrees)
    assert checked.name == "activity-trees"


def test_each_tree_takes_loss_away():
    data = examples()
    losses = [TASK.evaluate(grown(count, data), data).loss_sum for count in (0, 1, 4, 8)]
    assert losses == sorted(losses, reverse=True)
    assert TASK.evaluate(grown(8, data), examples(seed=9)).correct > 60


def test_the_same_gives_the_same_tree_and_another_seed_another():
    data, begin = examples(), grown(2, examples())
    one, two, other = (TASK.newest(TASK.train(begin, data, recipe(seed)).weights) for seed in (5, 5, 6))
    assert one == two != other


def test_xgboost_and_onnx_runtime_say_what_the_tables_say():
    xgboost = pytest.importorskip("xgboost")
    data = examples()
    weights = grown(12, data)
    file = TASK.to_onnx(weights)
    check_model(file)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    booster = xgboost.Booster()
    booster.load_model(bytearray(TASK.write_trees(weights)))
    # thresholds are values of the training data: where both sides round differently, rows of it go astray
    for part in (data, examples(count=300, seed=8)):
        own = TASK.logits(weights, part.x)
        theirs = booster.predict(xgboost.DMatrix(window_table(part.x), nthread=1), output_margin=True)
        assert np.abs(own - theirs).max() < 1e-5
        assert np.abs(own - session.run(None, {"x": part.x})[0]).max() < 1e-5


def test_no_leaf_is_beyond_what_a_gate_lets_in():
    data = examples(count=20)
    leaves = np.abs(grown(30, data, rate=1.0)[LEAF])
    assert float(leaves.max()) <= np.float32(TASK.greatest_leaf(1.0))


def test_a_model_without_trees_is_no_file_and_has_no_newest_tree():
    empty = TASK.initial(seed=0, moments=None)
    assert not TASK.logits(empty, examples().x).any()
    for call in (TASK.to_onnx, TASK.newest):
        with pytest.raises(ContractError):
            call(empty)


def test_readings_that_are_no_numbers_are_refused():
    data = examples()
    data.x[3, 2, 50] = np.nan
    with pytest.raises(ContractError, match="no numbers"):
        TASK.train(TASK.initial(seed=0, moments=None), data, recipe())


def test_what_reaches_into_gradients_is_refused():
    with pytest.raises(ContractError):
        TASK.train(TASK.initial(seed=0, moments=None), examples(), recipe(proximal=0.1))
