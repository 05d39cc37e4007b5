import numpy as np
import pytest

from cloud.models.calibrate import activations
from cloud.models.onnx_file import infer_shapes, load
from cloud.models.optimise import calibration_graph, quantise
from edge.training.judging import activation_ranges, judge
from shared.calibration import merge_ranges
from shared.errors import ContractError, TrustError
from shared.task import Examples, Moments
from shared.tasks import adapter

TASK = adapter("activity")


@pytest.fixture(scope="module")
def made():
    """(weights, float file, examples)."""
    weights = TASK.initial(seed=1, moments=Moments(count=1, total=np.zeros(6), square=np.ones(6)))
    source = np.random.default_rng(5)
    x = source.normal(size=(150, *TASK.input_shape)).astype(np.float32)
    return weights, TASK.to_onnx(weights), Examples(x, source.integers(0, 7, 150))


def test_ranges_hold_every_activation_of_every_batch(made):
    _, fp32, data = made
    ranges = activation_ranges(calibration_graph(fp32), data.x)
    assert ranges.keys() == set(activations(infer_shapes(load(fp32))))
    half = activation_ranges(calibration_graph(fp32), data.x[:64])
    assert all(ranges[name][0] <= low and high <= ranges[name][1] for name, (low, high) in half.items())


def test_candidates_are_counted_against_labels_and_the_float_file(made):
    weights, fp32, data = made
    int8 = quantise(fp32, merge_ranges([activation_ranges(calibration_graph(fp32), data.x)]))
    trained = TASK.logits(weights, data.x)
    answer = judge({"fp32": fp32, "int8": int8}, data, trained=trained, baseline="fp32")
    assert answer.parity < 1e-4
    assert answer.files["fp32"] == answer.training
    assert answer.files["fp32"].agreed == 150
    assert answer.files["int8"].agreed > 120
    assert answer.training.present == np.bincount(data.y, minlength=7).tolist()
    assert sum(answer.training.found) == answer.training.correct == int((trained.argmax(axis=1) == data.y).sum())


def test_an_empty_hold_out_counts_nothing(made):
    weights, fp32, data = made
    none = Examples(data.x[:0], data.y[:0])
    answer = judge({"fp32": fp32}, none, trained=TASK.logits(weights, none.x), baseline="fp32")
    assert answer.files["fp32"].examples == 0
    with pytest.raises(ContractError):
        activation_ranges(calibration_graph(fp32), none.x)


def test_a_file_that_is_more_than_a_model_is_never_loaded(made):
    weights, fp32, data = made
    trained = TASK.logits(weights, data.x)
    for file in (b"\x80\x04cposix\nsystem\n.", b"", fp32[:-40]):
        with pytest.raises((TrustError, ContractError)):
            judge({"fp32": fp32, "int8": file}, data, trained=trained, baseline="fp32")
        with pytest.raises((TrustError, ContractError)):
            activation_ranges(file, data.x)


def test_a_file_for_other_inputs_or_classes_is_refused(made):
    weights, fp32, data = made
    other = adapter("fashion")
    foreign = other.to_onnx(other.initial(seed=1, moments=Moments(count=1, total=np.zeros(1), square=np.ones(1))))
    with pytest.raises(ContractError):
        judge({"fp32": fp32, "int8": foreign}, data, trained=TASK.logits(weights, data.x), baseline="fp32")
    with pytest.raises(ContractError):
        judge({"fp32": fp32}, data, trained=np.zeros((150, 3), dtype=np.float32), baseline="fp32")
    with pytest.raises(ContractError):
        judge({"fp32": fp32}, data, trained=TASK.logits(weights, data.x), baseline="none")
