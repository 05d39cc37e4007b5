"""Layouts in which detectors give their anchors, brought to one: boxes as shares of the image, and scores by class.

`ssd` gives just that. YOLO gives boxes as centre and size in pixels of the model's input: `yolov8` (Ultralytics YOLOv8
and later, without objectness) as [n, 4 + classes, anchors], `yolov5` (YOLOv5 and YOLOv7) as [n, anchors, 5 + classes]
with the objectness fifth. Both as they are exported: scores are through the sigmoid, boxes off the grid.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

SSD, YOLOV5, YOLOV8 = "ssd", "yolov5", "yolov8"
HEADS = (SSD, YOLOV5, YOLOV8)


def head_fits(head: str, shapes: list[list[int]], *, batch: int, labels: int) -> bool:
    """Whether outputs of these shapes are of this layout."""
    if head == SSD:
        anchors = shapes[0][1] if shapes and len(shapes[0]) == 3 else 0
        return anchors > 0 and shapes == [[batch, anchors, 4], [batch, anchors, labels]]
    if len(shapes) != 1 or len(shapes[0]) != 3 or min(shapes[0]) <= 0 or shapes[0][0] != batch:
        return False
    return shapes[0][1] == 4 + labels if head == YOLOV8 else shapes[0][2] == 5 + labels


def decode(head: str, outputs: list[Floats], *, input_shape: list[int]) -> tuple[Floats, Floats]:
    """Boxes [n, anchors, 4] (y1, x1, y2, x2 as shares of the image) and scores [n, anchors, classes].

    Args:
        head: the layout; one of `HEADS`.
        outputs: that `head_fits`.
        input_shape: [3, height, width] of the model's input.
    """
    if head == SSD:
        return outputs[0], outputs[1]
    rows = outputs[0].transpose(0, 2, 1) if head == YOLOV8 else outputs[0]
    scores = rows[..., 4:] if head == YOLOV8 else rows[..., 5:] * rows[..., 4:5]
    height, width = input_shape[1:]
    x, y, wide, high = (rows[..., index] for index in range(4))
    ends = [(y - high / 2) / height, (x - wide / 2) / width, (y + high / 2) / height, (x + wide / 2) / width]
    return np.stack(ends, axis=-1, dtype=np.float32), np.ascontiguousarray(scores)
