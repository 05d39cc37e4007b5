"""The detector in int8, calibrated on public film that it will not be shown on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from cloud.models.optimise import calibration_graph, merge_ranges, quantise
from shared.calibration import Range, read_ranges
from simulations.detector.convert import DECODING
from simulations.detector.frames import inputs_of

FPS = 1.0
"""Frames of a clip that are looked at; neighbours tell nothing new."""

MOST = 16
"""Per clip, so that a long one does not outweigh the others."""


def quantise_detector(fp32: bytes, clips: Iterable[Path]) -> bytes:
    """Quantise all but the decoding of boxes and scores.

    Raises:
        FaultError: a clip is missing or no video.
    """
    frames = [frame for clip in clips for frame in inputs_of(clip, fps=FPS, most=MOST)]
    return quantise(fp32, merge_ranges(gauge(fp32, frames)), keep_float=DECODING)


def gauge(fp32: bytes, frames: Sequence[NDArray[np.float32]]) -> list[dict[str, Range]]:
    """Ranges of the activations, frame by frame."""
    session = session_of(calibration_graph(fp32))
    names = [output.name for output in session.get_outputs()]
    return [read_ranges(names, session.run(None, {"x": frame})) for frame in frames]


def session_of(data: bytes) -> ort.InferenceSession:
    """A session on the CPU; models made here need no check for foreign parts."""
    return ort.InferenceSession(data, providers=["CPUExecutionProvider"])
