import numpy as np
import pytest

from shared.parity import average_precision, compare

LOGITS = np.float32([[3, 0, 0], [3, 0, 0], [0, 3, 0], [0, 0, 3]])


def boxes(*centres: float) -> np.ndarray:
    return np.float32([[[c - 0.1, 0.2, c + 0.1, 0.4] for c in centres]])


def scores(*values: tuple[float, float]) -> np.ndarray:
    return np.float32([values])


def test_the_same_answers_are_alike() -> None:
    same = compare([LOGITS], [LOGITS], kind="classification")
    assert (same.agreement, same.precision, same.difference) == (1.0, 1.0, 0.0)
    assert same.present == same.found == (2, 1, 1)


def test_labels_are_counted_by_class() -> None:
    said = LOGITS.copy()
    said[0] = [0, 3, 0]
    likeness = compare([LOGITS], [said], kind="classification")
    assert likeness.agreement == 0.75
    assert likeness.found == (1, 1, 1)
    assert likeness.worst == (0, 0.5)


def test_objects_are_found_or_not_by_class() -> None:
    truth = [boxes(0.2, 0.5, 0.8), scores((0.9, 0), (0, 0.8), (0, 0.7))]
    said = [boxes(0.21, 0.5, 0.3), scores((0.9, 0), (0, 0.8), (0, 0.7))]
    likeness = compare(truth, said, kind="detection")
    assert (likeness.present, likeness.found, likeness.claimed) == ((1, 2), (1, 1), 3)
    assert likeness.agreement == pytest.approx(2 / 3)
    assert likeness.precision == pytest.approx((1 + 0.5) / 2)


def test_an_empty_scene_seen_empty_is_alike() -> None:
    nothing = [boxes(0.2), scores((0.1, 0.1))]
    assert compare(nothing, nothing, kind="detection").agreement == 1.0


def objects(*found: tuple[float, float]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    places = np.float32([[c - 0.1, 0.2, c + 0.1, 0.4] for c, _ in found]).reshape(-1, 4)
    return np.zeros(len(found), int), np.float32([score for _, score in found]), places


def test_average_precision_as_it_is_defined() -> None:
    truth = [objects((0.2, 1), (0.5, 1), (0.8, 1))]
    assert average_precision(truth, truth) == pytest.approx(1.0)
    # right, wrong, right: precision 1 up to a third of the recall, 2/3 up to two thirds, nothing beyond
    said = [objects((0.2, 0.9), (0.35, 0.8), (0.5, 0.7))]
    assert average_precision(truth, said) == pytest.approx(1 / 3 + 2 / 3 / 3)


def test_an_object_is_claimed_once() -> None:
    truth = [objects((0.2, 1), (0.8, 1))]
    said = [objects((0.2, 0.9), (0.21, 0.8))]
    assert average_precision(truth, said) == pytest.approx(0.5)


def test_nothing_found_is_no_precision() -> None:
    assert average_precision([objects((0.2, 1))], [objects()]) == 0.0
