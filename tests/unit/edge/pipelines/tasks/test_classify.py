import numpy as np
import pytest

from edge.pipelines.tasks.classify import classify, softmax
from shared.bundle import Schema

SCHEMA = Schema(kind="classification", labels=["a", "b", "c"], input_shape=[1, 1])


def test_softmax_stands_large_logits() -> None:
    assert softmax(np.array([[1000.0, 1000.0], [-1000.0, 1000.0]])).tolist() == [[0.5, 0.5], [0.0, 1.0]]


def test_the_surest_class_and_its_probability() -> None:
    logits = np.log(np.array([[0.2, 0.7, 0.1], [0.5, 0.25, 0.25]], np.float32))
    answers = classify([logits], SCHEMA)
    assert [answer.labels for answer in answers if answer] == [("b",), ("a",)]
    assert [answer.index for answer in answers if answer] == [1, 0]
    assert [answer.confidence for answer in answers if answer] == pytest.approx([0.7, 0.5])


def test_an_answer_that_is_not_finite_is_none_and_spares_the_others() -> None:
    first, second, third = classify([np.array([[0, 1, np.nan], [0, 1, 0], [np.inf, 0, 0]])], SCHEMA)
    assert first is None
    assert third is None
    assert second is not None
    assert second.labels == ("b",)
