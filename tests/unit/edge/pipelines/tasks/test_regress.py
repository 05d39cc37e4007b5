import numpy as np
import pytest

from edge.inference.warmup import check_shapes
from edge.pipelines.answer import Answer
from edge.pipelines.comparison import same
from edge.pipelines.tasks.regress import TASK
from shared.bundle import Reading, Schema
from shared.errors import FaultError


def _schema(**reading: object) -> Schema:
    return Schema(kind="regression", labels=[], input_shape=[2, 4], reading=Reading(**reading))  # type: ignore[arg-type]


LIFE = _schema(unit="h", scale=100.0, offset=50.0, low=0.0, tolerance=10.0)


@pytest.mark.parametrize("shape", [(3,), (3, 1)])
def test_a_value_comes_in_its_unit_and_within_its_bounds(shape: tuple[int, ...]) -> None:
    output = np.array([1, np.inf, -2], np.float32).reshape(shape)
    check_shapes([output], schema=LIFE, batch=3)
    first, second, third = TASK.read([output], LIFE, output, threshold=0.5)
    assert first is not None
    assert third is not None
    assert (first.value, first.unit, first.interval, first.labels) == (150, "h", None, ())
    assert second is None
    assert third.value == 0


def test_an_interval_comes_with_its_ends_in_order() -> None:
    schema = _schema(head="interval", coverage=0.9, scale=-1.0)
    output = np.array([[5, 4, 7]], np.float32)
    check_shapes([output], schema=schema, batch=1)
    (answer,) = TASK.read([output], schema, output, threshold=0.5)
    assert answer is not None
    assert (answer.value, answer.interval) == (-5, (-7, -4))


@pytest.mark.parametrize(("head", "shape"), [("", (3, 2)), ("", (2,)), ("interval", (3, 1))])
def test_outputs_of_another_layout_do_not_fit(head: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(FaultError, match="do not fit"):
        check_shapes([np.zeros(shape)], schema=_schema(head=head, coverage=0.5), batch=3)


@pytest.mark.parametrize(
    ("reading", "said"),
    [
        ({"head": "guess"}, "guess"),
        ({"head": "interval"}, "coverage"),
        ({"scale": 0.0}, "scale"),
        ({"tolerance": -1.0}, "tolerance"),
        ({"low": 2.0, "high": 1.0}, "low"),
    ],
)
def test_a_schema_that_cannot_be_followed_is_said(reading: dict[str, object], said: str) -> None:
    assert said in TASK.check(_schema(**reading))


def test_two_models_say_the_same_within_their_tolerance() -> None:
    def answer(value: float) -> Answer:
        return Answer(labels=(), confidence=0.0, value=value, tolerance=10.0)

    assert same(answer(100), answer(110))
    assert not same(answer(100), answer(111))


def test_numbers_with_labels_agree_by_their_labels() -> None:
    odd = Answer(labels=("odd",), confidence=0.9, value=3.0)
    assert same(odd, Answer(labels=("odd",), confidence=0.9, value=9.0))
    assert not same(odd, Answer(labels=("normal",), confidence=0.9, value=3.0))
