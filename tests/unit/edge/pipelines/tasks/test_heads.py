import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.inference.warmup import check_shapes
from edge.pipelines.tasks.detect import TASK, Detector
from shared.bundle import Reading, Schema
from shared.errors import FaultError
from shared.heads import YOLOV5, YOLOV8

LABELS = ["person", "car", "dog"]
SHAPE = [3, 320, 640]


def _schema(head: str) -> Schema:
    return Schema(kind="detection", labels=LABELS, input_shape=SHAPE, reading=Reading(head=head))


def _yolo(head: str, boxes: np.ndarray, scores: np.ndarray) -> list[np.ndarray]:
    """What such a detector gives for boxes (y1, x1, y2, x2 as shares) and scores, by the layouts' own definition."""
    _, height, width = SHAPE
    y1, x1, y2, x2 = boxes.transpose(2, 0, 1)
    place = [(x1 + x2) / 2 * width, (y1 + y2) / 2 * height, (x2 - x1) * width, (y2 - y1) * height]
    if head == YOLOV8:
        return [np.concatenate([np.stack(place, axis=1), scores.transpose(0, 2, 1)], axis=1).astype(np.float32)]
    objectness = np.full((*scores.shape[:2], 1), 0.8)
    return [np.concatenate([np.stack(place, axis=2), objectness, scores / 0.8], axis=2).astype(np.float32)]


@pytest.mark.parametrize("head", [YOLOV5, YOLOV8])
@given(seed=st.integers(0, 10_000))
def test_yolo_finds_what_ssd_finds(head: str, seed: int) -> None:
    random = np.random.default_rng(seed)
    # on a grid whose middles are exact in float32: an overlap of nearly a half must be the same for both
    low, size = random.integers(0, 64, (1, 40, 2)) / 128, random.integers(7, 32, (1, 40, 2)) / 64
    boxes = np.concatenate([low, low + size], axis=2).astype(np.float32)
    scores = random.uniform(0, 0.79, (1, 40, 3)).astype(np.float32)
    (plain,) = Detector()([boxes, scores], _schema(""))
    outputs = _yolo(head, boxes, scores)
    check_shapes(outputs, schema=_schema(head), batch=1)
    (found,) = Detector()(outputs, _schema(head))
    assert plain is not None
    assert found is not None
    assert found.labels == plain.labels
    mine, its = ([each.box for each in answer.detections] for answer in (plain, found))
    np.testing.assert_allclose(its, mine, atol=1e-5)
    assert found.confidence == pytest.approx(plain.confidence, abs=1e-6)


@pytest.mark.parametrize(
    ("head", "shape"), [(YOLOV8, (1, 8, 40)), (YOLOV8, (1, 40, 7)), (YOLOV5, (1, 8, 40)), (YOLOV5, (2, 40, 8))]
)
def test_outputs_of_another_layout_do_not_fit(head: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(FaultError, match="do not fit"):
        check_shapes([np.zeros(shape)], schema=_schema(head), batch=1)


def test_an_unknown_head_is_said() -> None:
    assert "yolov99" in TASK.check(_schema("yolov99"))
    assert TASK.check(_schema(YOLOV8)) == ""


def test_numbers_that_are_none_are_no_answer() -> None:
    output = np.zeros((1, 7, 5), np.float32)
    output[0, 5, 2] = np.nan
    assert Detector()([output], _schema(YOLOV8)) == [None]
