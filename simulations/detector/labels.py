"""What the detector tells apart."""

from __future__ import annotations

from shared.bundle import Schema

SIDE = 300
"""Pixels of the square input."""

ANCHORS = 1917

COCO = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep",
    "cow", "elephant", "bear", "zebra", "giraffe", "", "backpack", "umbrella", "", "",
    "handbag", "tie", "suitcase", "frisbee", "skis",
    "snowboard", "sports ball", "kite", "baseball bat", "baseball glove",
    "skateboard", "surfboard", "tennis racket", "bottle", "", "wine glass", "cup", "fork", "knife", "spoon",
    "bowl", "banana", "apple", "sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut",
    "cake", "chair", "couch", "potted plant", "bed", "", "dining table", "", "", "toilet",
    "", "tv", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven", "toaster",
    "sink", "refrigerator", "", "book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
)  # fmt: skip  # ten or five in a row, so that the number of a class can be read off
"""Class names in the order of COCO's 90 category ids, from 1; ten ids were never used and are empty here."""

SCHEMA = Schema(kind="detection", labels=list(COCO), input_shape=[3, SIDE, SIDE])
"""Input `x` is RGB·2/255 − 1; outputs are `boxes` [n, 1917, 4] (y1, x1, y2, x2, shares of the image) and `scores`
[n, 1917, 90] (0 to 1)."""
