"""A film through Roboflow's `inference` or `supervision`, as their documentation has it; run by their own interpreter.

`python film_by_roboflow.py inference|supervision MODEL FILM` prints seconds, objects and versions as JSON. The model
has one thread, as ours has; decoding, and what follows the model, is the library's own.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

os.environ.update(TELEMETRY_OPT_OUT="True", METRICS_ENABLED="False", DISABLE_VERSION_CHECK="True")

import cv2  # it and those below read the environment when they are imported
import numpy as np
import onnxruntime as ort
import supervision as sv  # type: ignore[import-not-found]  # in the peer's environment only

THRESHOLD, OVERLAP = 0.5, 0.5


class Detector:
    """The model with the library's own detections and suppression."""

    def __init__(self, path: str) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name

    def __call__(self, image: Any) -> Any:
        blob = cv2.dnn.blobFromImage(image, 2 / 255, (300, 300), (127.5, 127.5, 127.5), swapRB=True)
        boxes, scores = self._session.run(None, {self._input: blob})
        anchors, classes = np.nonzero(scores[0] > THRESHOLD)
        height, width = image.shape[:2]
        corners = boxes[0][anchors][:, [1, 0, 3, 2]] * np.array([width, height, width, height], np.float32)
        found = sv.Detections(xyxy=corners, confidence=scores[0][anchors, classes], class_id=classes)
        return found.with_nms(OVERLAP)


def by_inference(detector: Detector, film: str, sink: Callable[[Any], None]) -> None:
    """Its pipeline decodes in a thread of its own."""
    from inference import InferencePipeline  # type: ignore[import-not-found]  # as above

    pipeline = InferencePipeline.init_with_custom_logic(
        video_reference=film,
        on_video_frame=lambda frames: [detector(frame.image) for frame in frames],
        on_prediction=lambda found, _frame: sink(found[0] if isinstance(found, list) else found),
    )
    pipeline.start()
    pipeline.join()


def by_supervision(detector: Detector, film: str, sink: Callable[[Any], None]) -> None:
    """One frame after the other."""
    for image in sv.get_video_frames_generator(film):
        sink(detector(image))


def main(name: str, model: str, film: str) -> None:
    """Play the film once."""
    cv2.setNumThreads(1)
    at: list[float] = []
    objects: list[int] = []

    def sink(found: Any) -> None:
        objects.append(len(found))
        at.append(time.perf_counter())

    {"inference": by_inference, "supervision": by_supervision}[name](Detector(model), film, sink)
    versions = {each: version(each) for each in sorted({name, "supervision", "onnxruntime", "opencv-python"})}
    sys.stdout.write(json.dumps({"seconds": at[-1] - at[0], "objects": objects, "versions": versions}))


if __name__ == "__main__":
    main(*sys.argv[1:])
