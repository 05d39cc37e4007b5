import numpy as np
import pytest

from edge.pipelines.tasks.detect import Detector
from shared.bundle import Schema
from shared.objects import DetectSettings, intersection_over_union

SCHEMA = Schema(kind="detection", labels=["person", "car"], input_shape=[3, 8, 8])


def _scores(*rows: tuple[float, float]) -> np.ndarray:
    return np.array([rows], np.float32)


def _boxes(*rows: tuple[float, float, float, float]) -> np.ndarray:
    return np.array([rows], np.float32)


def test_overlapping_boxes_of_one_class_are_one_object() -> None:
    boxes = _boxes((0, 0, 0.5, 0.5), (0.02, 0, 0.5, 0.5), (0.6, 0.6, 0.9, 0.9))
    (answer,) = Detector()([boxes, _scores((0.8, 0), (0.9, 0), (0.7, 0))], SCHEMA)
    assert answer is not None
    assert [round(found.score, 2) for found in answer.detections] == [0.9, 0.7]
    assert answer.labels == ("person", "person")
    assert answer.confidence == pytest.approx(0.9)
    assert answer.detections[0].box == pytest.approx((0.02, 0, 0.5, 0.5))


def test_overlapping_boxes_of_two_classes_are_two_objects() -> None:
    boxes = _boxes((0, 0, 0.5, 0.5), (0, 0, 0.5, 0.5))
    (answer,) = Detector()([boxes, _scores((0.8, 0), (0, 0.9))], SCHEMA)
    assert answer is not None
    assert answer.labels == ("car", "person")


def test_one_anchor_may_be_two_classes() -> None:
    (answer,) = Detector()([_boxes((0, 0, 1, 1)), _scores((0.8, 0.7))], SCHEMA)
    assert answer is not None
    assert answer.labels == ("person", "car")


def test_nothing_over_the_threshold_is_no_object() -> None:
    (answer,) = Detector(DetectSettings(threshold=0.95))([_boxes((0, 0, 1, 1)), _scores((0.9, 0.9))], SCHEMA)
    assert answer is not None
    assert (answer.labels, answer.confidence, answer.detections) == ((), 0.0, ())


def test_boxes_are_clipped_to_the_image() -> None:
    (answer,) = Detector()([_boxes((-0.5, -0.1, 1.5, 0.5)), _scores((0.9, 0))], SCHEMA)
    assert answer is not None
    assert answer.detections[0].box == (0, 0, 1, 0.5)


def test_no_more_objects_than_allowed_and_the_surest_stay() -> None:
    count = 40
    steps = np.arange(count, dtype=np.float32) / count
    boxes = np.stack([steps, steps, steps + 0.01, steps + 0.01], axis=1)[np.newaxis]
    scores = np.stack([0.5 + steps / 2, np.zeros(count, np.float32)], axis=1)[np.newaxis]
    (answer,) = Detector(DetectSettings(objects=5, threshold=0.1))([boxes, scores], SCHEMA)
    assert answer is not None
    assert [detection.score for detection in answer.detections] == (0.5 + steps / 2)[::-1][:5].tolist()


def test_outputs_that_are_not_finite_are_no_answer() -> None:
    assert Detector()([_boxes((0, 0, 1, np.inf)), _scores((0.9, 0))], SCHEMA) == [None]
    assert Detector()([_boxes((0, 0, 1, 1)), _scores((np.nan, 0))], SCHEMA) == [None]


def test_overlap_of_boxes() -> None:
    boxes = np.array([[0, 0, 1, 1], [0, 0, 1, 0.5], [0.5, 0.5, 0.5, 0.5], [0, 0.5, 1, 1]])
    overlap = intersection_over_union(boxes)
    assert overlap[0].tolist() == [1, 0.5, 0, 0.5]
    assert overlap[1, 3] == 0
    assert overlap[2].tolist() == [0, 0, 0, 0]
