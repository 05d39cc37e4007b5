import numpy as np
import pytest

from edge.inference.memory_runtime import MemorySession
from edge.inference.warmup import check_outputs, warm_up
from shared.bundle import Schema
from shared.errors import FaultError

CLASSES = Schema(kind="classification", labels=["a", "b", "c"], input_shape=[2, 5])
OBJECTS = Schema(kind="detection", labels=["a", "b"], input_shape=[3, 8, 8])


def test_fitting_outputs_pass() -> None:
    check_outputs([np.zeros((2, 3))], schema=CLASSES, batch=2)
    check_outputs([np.zeros((1, 7, 4)), np.zeros((1, 7, 2))], schema=OBJECTS, batch=1)


@pytest.mark.parametrize(
    ("schema", "shapes"),
    [
        (CLASSES, [(2, 4)]),
        (CLASSES, [(1, 3)]),
        (CLASSES, [(2, 3), (2, 3)]),
        (CLASSES, []),
        (OBJECTS, [(2, 7, 4), (2, 6, 2)]),
        (OBJECTS, [(2, 7, 5), (2, 7, 2)]),
        (OBJECTS, [(2, 0, 4), (2, 0, 2)]),
        (OBJECTS, [(2, 7, 2), (2, 7, 4)]),
    ],
)
def test_outputs_that_do_not_fit_the_schema_are_a_fault(schema: Schema, shapes: list[tuple[int, ...]]) -> None:
    with pytest.raises(FaultError, match="do not fit"):
        check_outputs([np.zeros(shape) for shape in shapes], schema=schema, batch=2)


def test_outputs_that_are_not_finite_are_a_fault() -> None:
    with pytest.raises(FaultError, match="finite"):
        check_outputs([np.full((1, 3), np.nan)], schema=CLASSES, batch=1)


def test_a_model_with_a_fixed_batch_axis_fails_where_batches_are_used() -> None:
    session = MemorySession(lambda batch: [np.zeros((1, 3))], input_shape=[2, 5])
    with pytest.raises(FaultError, match="do not fit"):
        warm_up(session, CLASSES)
    assert session.runs == 2


def test_an_unknown_kind_of_model_is_a_fault() -> None:
    schema = Schema(kind="speech", labels=["a"], input_shape=[1])
    with pytest.raises(FaultError, match="speech"):
        warm_up(MemorySession(lambda batch: [], input_shape=[1]), schema)
