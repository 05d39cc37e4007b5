import numpy as np
import pytest

from edge.inference.warmup import check_shapes
from edge.pipelines.tasks.anomaly import TASK
from shared.anomaly import threshold_for
from shared.bundle import Reading, Schema
from shared.errors import ContractError, FaultError


def _schema(head: str = "", threshold: float | None = 1.0, labels: tuple[str, ...] = ("normal", "odd")) -> Schema:
    reading = Reading(head=head, threshold=threshold)
    return Schema(kind="anomaly", labels=list(labels), input_shape=[2, 4], reading=reading)


X = np.zeros((3, 2, 4), np.float32)


def _read(output: np.ndarray, head: str) -> list[tuple[str, float, float] | None]:
    schema = _schema(head)
    check_shapes([output], schema=schema, batch=3)
    answers = TASK.read([output], schema, X, threshold=0.5)
    return [each and (each.labels[0], float(each.value or 0), each.confidence) for each in answers]


def test_a_reconstruction_is_held_against_what_went_in() -> None:
    output = np.stack([X[0], X[0] + 1, X[0] + 3])
    assert _read(output, "reconstruction") == [("normal", 0, 1), ("normal", 1, 0.5), ("odd", 9, 0.9)]


def test_a_forecast_is_held_against_the_last_points() -> None:
    output = np.zeros((3, 2, 2), np.float32)
    output[1] = 2
    assert [each and each[:2] for each in _read(output, "forecast")] == [("normal", 0), ("odd", 4), ("normal", 0)]


@pytest.mark.parametrize("shape", [(3,), (3, 1)])
def test_a_model_may_give_the_score_itself(shape: tuple[int, ...]) -> None:
    given = np.array([0.5, np.nan, 4], np.float32).reshape(shape)
    assert [each and each[:2] for each in _read(given, "score")] == [("normal", 0.5), None, ("odd", 4)]


@pytest.mark.parametrize(("head", "shape"), [("", (3, 2, 3)), ("forecast", (3, 2, 4)), ("score", (3, 2))])
def test_outputs_of_another_layout_do_not_fit(head: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(FaultError, match="do not fit"):
        check_shapes([np.zeros(shape)], schema=_schema(head), batch=3)


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        (_schema(threshold=None), "threshold"),
        (_schema(threshold=float("nan")), "threshold"),
        (_schema("guess"), "guess"),
        (_schema(labels=("a",)), "two"),
    ],
)
def test_a_schema_that_cannot_be_followed_is_said(schema: Schema, said: str) -> None:
    assert said in TASK.check(schema)


def test_the_threshold_lets_as_many_through_as_asked() -> None:
    normal = np.random.default_rng(7).exponential(size=1000)
    least = threshold_for(normal, alarms=0.01)
    assert int((normal > least).sum()) in range(1, 11)
    with pytest.raises(ContractError, match="20 normal inputs"):
        threshold_for(normal[:20], alarms=0.01)
