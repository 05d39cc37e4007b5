"""Where results go on the device: the newest one in memory, and a picture with its detections on disk."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge.pipelines.answer import Detection, Result
from edge.pipelines.sources.port import Sample
from shared.clock import Clock

log = logging.getLogger(__name__)


class Sink(Protocol):
    """Takes every result."""

    def put(self, sample: Sample, result: Result) -> None:
        """Take one result; called in the pipeline's thread, so slow sinks slow the pipeline down."""
        ...


class LastResult:
    """Keeps the newest result."""

    def __init__(self) -> None:
        self.result: Result | None = None

    def put(self, sample: Sample, result: Result) -> None:
        self.result = result


class Snapshot:
    """Writes the newest picture with its detections to a file: every so often, and when asked.

    The file is replaced in one step, so a reader never sees half a picture. It stays on the device.
    """

    def __init__(self, path: Path, *, clock: Clock, every_s: float | None = None) -> None:
        """Write to `path` (its suffix names the format) every `every_s` seconds; None for on request only."""
        self._path = path
        self._clock = clock
        self._every = every_s
        self._next = clock.monotonic() if every_s is not None else float("inf")
        self._asked = False

    def request(self) -> None:
        """Write the next picture."""
        self._asked = True

    def put(self, sample: Sample, result: Result) -> None:
        if sample.picture is None or not (self._asked or self._clock.monotonic() >= self._next):
            return
        self._asked = False
        if self._every is not None:
            self._next = self._clock.monotonic() + self._every
        try:
            write_picture(self._path, draw(sample.picture(), result.answer.detections))
        except OSError as error:
            log.warning("no snapshot: %s", error)


def draw(image: NDArray[np.uint8], detections: tuple[Detection, ...]) -> NDArray[np.uint8]:
    """A copy of an RGB image [height, width, 3] with boxes, labels and scores."""
    import cv2  # 60 MB that only agents with a camera need

    canvas = image.copy()
    height, width = canvas.shape[:2]
    green, black = (40, 220, 90), (0, 0, 0)
    for found in detections:
        y1, x1, y2, x2 = (round(value * side) for value, side in zip(found.box, (height, width) * 2, strict=True))
        number = f" {found.track}" if found.track else ""
        text = f"{found.label}{number} {found.score:.2f}"
        cv2.rectangle(canvas, (x1, y1), (x2, y2), green, 2)
        cv2.rectangle(canvas, (x1, y1 - 16), (x1 + 8 * len(text), y1), green, -1)
        cv2.putText(canvas, text, (x1 + 2, y1 - 4), cv2.FONT_HERSHEY_SIMPLEX, 0.42, black, 1, cv2.LINE_AA)
    return canvas


def write_picture(path: Path, image: NDArray[np.uint8]) -> None:
    """Encode an RGB image in the format of `path`'s suffix and put it in place in one step.

    Raises:
        OSError: the disk refuses.
    """
    import cv2  # as above

    _, encoded = cv2.imencode(path.suffix, np.ascontiguousarray(image[:, :, ::-1]))
    part = path.with_name(f"{path.name}.part")
    part.write_bytes(encoded.tobytes())
    part.replace(path)
