"""Files held against data of the company's own, by the bar that devices hold them to."""

import numpy as np
import pytest

from cloud.central.data import read_data
from cloud.central.evaluate import evaluate
from cloud.central.orders import Judged
from cloud.central.warm import make_first_weights
from cloud.models.gates import Bar, Reason
from cloud.models.variants import FLOAT, INT8
from shared.bundle import Runtime
from shared.clock import VirtualClock
from shared.errors import RefusedError, TrustError
from shared.tasks import adapter
from shared.tasks.weights import read_weights


@pytest.fixture
def model(warm, tmp_path):
    """A trained model's weights and its float file."""
    directory = warm(epochs=6)
    make_first_weights(directory, clock=VirtualClock())
    with (directory / "weights.npz").open("rb") as file:
        (tmp_path / FLOAT).write_bytes(adapter("activity").to_onnx(read_weights(file)))
    return directory / "weights.npz", tmp_path / FLOAT


def test_a_file_is_judged_by_what_it_answers(judged, model, data):
    weights, file = model
    found = evaluate(judged({FLOAT: file}, task="activity", weights=str(weights)), clock=VirtualClock())
    held = read_data(data, input_shape=(6, 100), classes=7).examples
    with weights.open("rb") as opened:
        score = adapter("activity").evaluate(read_weights(opened), held)
    assert (found.examples, found.files[FLOAT].correct, found.files[FLOAT].agreed) == (98, score.correct, 98)
    assert found.files[FLOAT].present == tuple(np.bincount(held.y).tolist())
    assert found.admitted == [FLOAT]
    assert found.evaluation["accuracy.training"] == found.evaluation[f"accuracy.{FLOAT}"]
    assert 0 <= found.evaluation["parity"] < 1e-3


def test_the_bar_refuses_with_its_reason(judged, model):
    weights, file = model
    bar = Bar(accuracy=1.0, least_examples=10)
    found = evaluate(judged({FLOAT: file}, task="activity", weights=str(weights), bar=bar), clock=VirtualClock())
    assert found.admitted == []
    assert found.refused[FLOAT].reason is Reason.TOO_WEAK
    assert "cleared the bar: nothing" in found.summary


def test_weights_that_are_another_model_show(judged, model, warm):
    other = warm("other", seed=99, epochs=1)
    make_first_weights(other, clock=VirtualClock())
    order = judged({FLOAT: model[1]}, task="activity", weights=str(other / "weights.npz"))
    found = evaluate(order, clock=VirtualClock())
    assert found.refused[FLOAT].reason is Reason.NOT_THE_TRAINED_MODEL


def test_an_imported_model_has_no_weights_to_be_held_against(judged, model):
    found = evaluate(judged({FLOAT: model[1]}), clock=VirtualClock())
    assert found.admitted == [FLOAT]
    assert not {"parity", "accuracy.training"} & found.evaluation.keys()


def test_a_champion_that_does_better_refuses(judged, model, warm, tmp_path):
    weak = warm("weak", seed=99, epochs=1)
    make_first_weights(weak, clock=VirtualClock())
    with (weak / "weights.npz").open("rb") as file:
        (tmp_path / "weak.onnx").write_bytes(adapter("activity").to_onnx(read_weights(file)))
    bar = Bar(accuracy=0.0, least_examples=10, champion_tolerance=0.0)
    order = judged({FLOAT: tmp_path / "weak.onnx"}, champion=str(model[1]), bar=bar)
    found = evaluate(order, clock=VirtualClock())
    assert found.refused[FLOAT].reason is Reason.WORSE_THAN_CHAMPION


def test_what_cannot_run_here_is_left_out_and_said(judged, model):
    files = {FLOAT: Judged(path=str(model[1])), "sm86.bin": Judged(path="/nowhere", runtime=Runtime.TENSORRT)}
    found = evaluate(judged(files), clock=VirtualClock())
    assert found.admitted == [FLOAT]
    assert found.left_out == {"sm86.bin": "no such GPU is here"}
    assert found.refused["sm86.bin"].reason is Reason.NOT_MEASURED


def test_a_file_that_is_more_than_a_model_is_not_loaded(judged, tmp_path):
    (tmp_path / INT8).write_bytes(b"\x80\x04 a pickle")
    with pytest.raises(TrustError):
        evaluate(judged({INT8: tmp_path / INT8}), clock=VirtualClock())


def test_without_its_data_there_is_no_judgement(judged, model, data):
    order = judged({FLOAT: model[1]})
    data.unlink()
    with pytest.raises(RefusedError, match="no data set"):
        evaluate(order, clock=VirtualClock())


def test_done_once_it_stays_as_it_was(judged, model, data):
    order = judged({FLOAT: model[1]})
    found = evaluate(order, clock=VirtualClock())
    data.unlink()
    assert evaluate(order, clock=VirtualClock()) == found
