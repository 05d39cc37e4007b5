import numpy as np
import onnxruntime
import pytest

from shared.errors import ContractError, RefusedError
from shared.modelfile import check_model
from shared.task import Examples, Moments, Recipe
from shared.tasks import adapter
from shared.tasks.scoring import statistics
from shared.tasks.weights import form, weights_digest

RECIPE = Recipe(epochs=1, batch_size=16, learning_rate=0.02, seed=11)
NETWORKS = ("activity", "fashion")
TASKS = (*NETWORKS, "activity-linear")


def examples(task, count=48, seed=0):
    source = np.random.default_rng(seed)
    y = source.integers(0, len(task.labels), count)
    x = source.normal(size=(count, *task.input_shape)).astype(np.float32) + y.reshape(-1, *[1] * len(task.input_shape))
    return Examples(x.astype(np.float32), y.astype(np.int64))


def first_weights(task, seed=3):
    channels = task.input_shape[0]
    moments = Moments(count=4, total=np.full(channels, 4.0), square=np.full(channels, 20.0))
    return task.initial(seed=seed, moments=moments)


@pytest.fixture(params=TASKS)
def task(request):
    return adapter(request.param)


def test_initial_weights_are_a_function_of_the_seed(task):
    assert weights_digest(first_weights(task)) == weights_digest(first_weights(task))
    other = weights_digest(first_weights(task, seed=4)) != weights_digest(first_weights(task))
    assert other == (task.name in NETWORKS)  # what is convex begins at zero


def test_normalisation_comes_from_the_moments_and_is_never_trained(task):
    weights = first_weights(task)
    trained = task.train(weights, examples(task), RECIPE).weights
    for each in (weights, trained):
        assert np.allclose(each["normalise.mean"], 1.0)
        assert np.allclose(each["normalise.deviation"], 2.0)


def test_training_the_same_gives_the_same_bytes(task):
    data, weights = examples(task), first_weights(task)
    one, two = (task.train(weights, data, RECIPE) for _ in range(2))
    assert weights_digest(one.weights) == weights_digest(two.weights)
    assert one.loss == two.loss
    assert one.examples == len(data)
    other = task.train(weights, data, Recipe(epochs=1, batch_size=16, learning_rate=0.02, seed=12))
    assert weights_digest(other.weights) != weights_digest(one.weights)


def test_training_does_not_touch_what_it_was_given(task):
    weights = first_weights(task)
    before = weights_digest(weights)
    task.train(weights, examples(task), RECIPE)
    assert weights_digest(weights) == before


def test_training_learns(task):
    data, weights = examples(task, count=96), first_weights(task)
    trained = task.train(weights, data, Recipe(epochs=12, batch_size=16, learning_rate=0.02, seed=1)).weights
    before, after = task.evaluate(weights, data), task.evaluate(trained, data)
    assert after.loss_sum < before.loss_sum
    assert after.correct > before.correct
    assert after.examples == 96


def test_scores_add_up_whatever_the_batches(task):
    data, weights = examples(task), first_weights(task)
    whole = task.evaluate(weights, data)
    halves = [task.evaluate(weights, Examples(data.x[part], data.y[part])) for part in (slice(0, 20), slice(20, 48))]
    assert whole.correct == sum(score.correct for score in halves)
    assert np.isclose(whole.loss_sum, sum(score.loss_sum for score in halves))
    assert task.evaluate(weights, Examples(data.x[:0], data.y[:0])).examples == 0


def test_the_exported_file_says_what_the_weights_say(task):
    weights = task.train(first_weights(task), examples(task), RECIPE).weights
    file = task.to_onnx(weights)
    check_model(file)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    assert [(i.name, i.shape[1:]) for i in session.get_inputs()] == [("x", list(task.input_shape))]
    assert [(o.name, o.shape[1:]) for o in session.get_outputs()] == [("logits", [len(task.labels)])]
    for count in (1, 7):
        x = examples(task, count, seed=9).x
        assert np.abs(session.run(None, {"x": x})[0] - task.logits(weights, x)).max() < 1e-4


def test_the_export_of_the_same_weights_is_the_same_file(task):
    weights = first_weights(task)
    assert task.to_onnx(weights) == task.to_onnx(weights)


def test_foreign_weights_are_refused(task):
    weights = first_weights(task)
    weights.pop("head.bias")
    with pytest.raises(ContractError):
        task.train(weights, examples(task), RECIPE)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_model_is_small_enough_for_a_small_device(name):
    task = adapter(name)
    parameters = sum(int(np.prod(shape)) for shape in form(first_weights(task)).values())
    assert 30_000 < parameters < 120_000


def test_a_channel_that_never_moves_is_not_divided_by_nothing():
    mean, deviation = statistics(Moments(count=5, total=np.array([10.0, 5.0]), square=np.array([20.0, 25.0])))
    assert mean.tolist() == [2.0, 1.0]
    assert deviation.tolist() == [1.0, 2.0]


def test_an_unknown_task_is_refused_with_those_known():
    with pytest.raises(RefusedError) as refused:
        adapter("poetry")
    assert "activity" in refused.value.hint
