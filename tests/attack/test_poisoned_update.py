"""Client updates that would poison, rule or crash a round; an honest one beside each of them is accepted."""

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, MetricRecord, RecordDict

from cloud.training.gate import Gate, check_loss, metrics_of, read_score
from shared.errors import ContractError, RefusedError
from shared.tasks.records import read_arrays, to_record

MODEL = {"weights": np.arange(1, 7, dtype=np.float32)}
HONEST = np.arange(6, dtype=np.float32)


def check_update(update, examples, *, model, registered):
    return Gate.around(model).admit(update, examples, registered=registered).examples


def check(values, examples=10, registered=10, name="weights"):
    return check_update({name: values}, examples, model=MODEL, registered=registered)


def test_an_honest_update_passes():
    assert check(HONEST) == 10


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(np.array([0, 1, np.nan, 3, 4, 5], dtype=np.float32), id="NaN"),
        pytest.param(np.array([0, 1, np.inf, 3, 4, 5], dtype=np.float32), id="Inf"),
        pytest.param(np.array([0, 1, -np.inf, 3, 4, 5], dtype=np.float32), id="minus Inf"),
        pytest.param(np.full(6, 2e6, dtype=np.float32), id="beyond the fixed-point range"),
        pytest.param(np.zeros(5, dtype=np.float32), id="too short"),
        pytest.param(np.zeros(1, dtype=np.float32), id="broadcastable"),
        pytest.param(np.float32(1).reshape(()), id="scalar"),
        pytest.param(np.zeros((1, 6), dtype=np.float32), id="extra axis"),
        pytest.param(np.zeros(6, dtype=np.float64), id="other type"),
        pytest.param(np.zeros(6, dtype=np.int32), id="integers"),
        pytest.param(np.array(["a"] * 6), id="text"),
    ],
)
def test_a_poisonous_tensor_is_refused(values):
    with pytest.raises(RefusedError):
        check(values)


@pytest.mark.parametrize("factor", [-1, -3, 1e5, 3])
def test_an_update_from_where_no_training_leads_is_refused(factor):
    """The model mirrored, and the model many times as long, have the right form and finite numbers."""
    with pytest.raises(RefusedError, match="times the model's length away"):
        check(factor * MODEL["weights"])
    assert check(1.5 * MODEL["weights"]) == 10


def test_a_model_of_zeros_can_begin():
    zeros = {"weights": np.zeros(6, dtype=np.float32)}
    assert check_update({"weights": np.full(6, 0.5, np.float32)}, 10, model=zeros, registered=10) == 10


@pytest.mark.parametrize("examples", [0, -1, 11, 10**9, 1.5, float("nan"), True, None, "10", [10]])
def test_an_implausible_example_count_is_refused(examples):
    with pytest.raises(RefusedError):
        check(HONEST, examples)


def test_other_tensors_are_refused():
    with pytest.raises(RefusedError):
        check(HONEST, name="other")
    with pytest.raises(RefusedError):
        check_update({}, 10, model=MODEL, registered=10)
    with pytest.raises(RefusedError):
        check_update({"weights": HONEST, "more": HONEST}, 10, model=MODEL, registered=10)


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), None, "0.1", [0.1]])
def test_a_loss_that_is_no_number_is_refused(loss):
    with pytest.raises(RefusedError):
        check_loss(loss)


@pytest.mark.parametrize(
    ("examples", "correct", "loss"),
    [(10, 11, 1.0), (10, -1, 1.0), (-5, -6, 1.0), (1 << 40, 1, 1.0), (10, 5, float("nan"))],
)
def test_an_impossible_score_is_refused(examples, correct, loss):
    metrics = MetricRecord({"num-examples": examples, "correct": correct, "loss-sum": loss})
    with pytest.raises(RefusedError):
        read_score(RecordDict({"metrics": metrics}))


def test_an_honest_score_is_read():
    metrics = MetricRecord({"num-examples": 10, "correct": 7, "loss-sum": 3.5})
    assert read_score(RecordDict({"metrics": metrics})).correct == 7


def test_a_reply_without_metrics_is_refused():
    with pytest.raises(RefusedError):
        metrics_of(RecordDict())


def record_of(data):
    array = Array(HONEST)
    array.data = data
    return ArrayRecord({"weights": array})


def test_bytes_that_are_no_array_are_refused():
    huge = b"\x93NUMPY\x01\x00v\x00" + (
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904,), }".ljust(117) + b"\n"
    )
    pickled = b"\x93NUMPY\x01\x00v\x00" + (
        b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }".ljust(117) + b"\ncos\nsystem\n(S'true'\ntR."
    )
    for data in (b"", b"nonsense", huge, pickled):
        with pytest.raises(ContractError):
            read_arrays(record_of(data))
    with pytest.raises(ContractError):
        read_arrays(None)
    assert read_arrays(to_record({"w": HONEST}))["weights"].tolist() == HONEST.tolist()
