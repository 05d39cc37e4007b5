"""First weights: a function of order and data, wherever the job is killed; on data that is held to what was asked."""

import numpy as np
import pytest

from cloud.central import warm as job
from cloud.central.data import path_of, read_data
from cloud.central.terms import WarmStart, check_warm_start
from cloud.central.warm import make_first_weights
from shared.clock import VirtualClock
from shared.errors import ContractError, RefusedError
from shared.tasks import adapter
from shared.tasks.weights import read_weights, weights_digest


class Killed(BaseException):
    """What a kill -9 looks like from inside."""


def weights(directory):
    with (directory / "weights.npz").open("rb") as file:
        return read_weights(file)


def test_first_weights_learn_from_the_data_and_say_what_from(warm, data):
    directory = warm(epochs=6)
    made = make_first_weights(directory, clock=VirtualClock())
    held = read_data(data, input_shape=(6, 100), classes=7)
    assert (made.examples, made.epochs, made.data_sha256, made.device) == (98, 6, held.digest, "cpu")
    assert made.accuracy > 2 / 7
    assert made.digest == weights_digest(weights(directory))
    again = adapter("activity").evaluate(weights(directory), held.examples)
    assert again.correct / again.examples == made.accuracy
    assert not list(directory.glob("epoch-*.npz"))


def test_the_same_order_gives_the_same_bytes_and_another_seed_others(warm):
    first, same, other = warm("a"), warm("b"), warm("c", seed=8)
    digests = [make_first_weights(place, clock=VirtualClock()).digest for place in (first, same, other)]
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize("step", ["replace_atomic", "write_atomic"])
@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("at", [1, 2, 3, 4])
def test_killed_at_any_write_it_ends_with_the_same_digest(warm, monkeypatch, step, before, at):
    undisturbed = make_first_weights(warm("a"), clock=VirtualClock())
    directory, real, seen = warm("b"), getattr(job, step), []

    def mortal(*arguments):
        seen.append(1)
        if before and len(seen) == at:
            raise Killed
        real(*arguments)
        if len(seen) == at:
            raise Killed

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(job, step, mortal)
        make_first_weights(directory, clock=VirtualClock())
    made = make_first_weights(directory, clock=VirtualClock())
    assert (made.digest, made.loss, made.epochs) == (undisturbed.digest, undisturbed.loss, 3)


def test_a_killed_job_does_not_train_finished_epochs_again(warm, monkeypatch):
    directory, trained = warm(epochs=3), []
    task = adapter("activity")
    train = type(task).train

    def counting(self, start, examples, recipe):
        trained.append(recipe.seed)
        if len(trained) == 3:
            raise Killed
        return train(self, start, examples, recipe)

    monkeypatch.setattr(type(task), "train", counting)
    with pytest.raises(Killed):
        make_first_weights(directory, clock=VirtualClock())
    make_first_weights(directory, clock=VirtualClock())
    assert len(trained) == 4
    assert len(set(trained)) == 3


def test_a_torn_checkpoint_is_trained_again(warm):
    undisturbed = make_first_weights(warm("a"), clock=VirtualClock())
    directory = warm("b")
    (directory / "epoch-0002.npz").write_bytes(b"PK\x03\x04 torn")
    assert make_first_weights(directory, clock=VirtualClock()).digest == undisturbed.digest


def test_a_finished_job_does_nothing_more(warm, data):
    directory = warm()
    made = make_first_weights(directory, clock=VirtualClock())
    data.unlink()
    assert make_first_weights(directory, clock=VirtualClock()) == made


def test_data_that_changes_under_way_ends_the_job(warm, data):
    directory = warm()
    (directory / "data.sha256").write_text("0" * 64)
    with pytest.raises(RefusedError, match="the data changed"):
        make_first_weights(directory, clock=VirtualClock())


@pytest.mark.parametrize("task", ["activity-linear", "activity-trees"])
def test_families_of_other_frameworks_warm_up_through_the_same_port(warm, task):
    made = make_first_weights(warm(task=task, epochs=4), clock=VirtualClock())
    assert made.accuracy > 2 / 7
    assert made.device == "cpu"


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"x": np.zeros((3, 6, 99)), "y": np.zeros(3, int)}, "takes inputs"),
        ({"x": np.zeros((3, 6, 100)), "y": np.zeros(2, int)}, "takes inputs"),
        ({"x": np.zeros((0, 6, 100)), "y": np.zeros(0, int)}, "takes inputs"),
        ({"x": np.full((1, 6, 100), np.nan), "y": np.zeros(1, int)}, "values that are none"),
        ({"x": np.zeros((1, 6, 100)), "y": np.array([7])}, "values that are none"),
        ({"x": np.zeros((1, 6, 100)), "y": np.array([-1])}, "values that are none"),
        ({"x": np.zeros((1, 6, 100)), "y": np.array([0.5])}, "values that are none"),
        ({"x": np.zeros((1, 6, 100))}, "is no data set"),
        ({"x": np.zeros((1, 6, 100)), "y": np.array([print], dtype=object)}, "is no data set"),
    ],
)
def test_what_is_no_data_set_is_refused_with_what_to_do(tmp_path, arrays, says):
    np.savez(tmp_path / "odd.npz", **arrays)
    with pytest.raises(RefusedError, match=says) as caught:
        read_data(tmp_path / "odd.npz", input_shape=(6, 100), classes=7)
    assert "numpy.savez" in caught.value.hint


def test_a_name_is_never_a_path(tmp_path):
    for name in ("../secret", "/etc/passwd", "a/b", "A", "", "."):
        with pytest.raises(ContractError):
            path_of(tmp_path, name)
    with pytest.raises(RefusedError, match="no data set"):
        read_data(tmp_path / "none.npz", input_shape=(6, 100), classes=7)
    for epochs in (0, -1, 10_001):
        with pytest.raises(RefusedError, match="epochs"):
            check_warm_start(WarmStart(data="clinic", epochs=epochs))
