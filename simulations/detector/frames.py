"""Public pictures in the form that the detector takes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge.pipelines.sources.film import Scaler, play
from simulations.detector.labels import SIDE


def inputs_of(clip: Path, *, fps: float, most: int) -> list[NDArray[np.float32]]:
    """Up to `most` inputs [1, 3, 300, 300], `fps` of them a second of film, scaled as a camera's pipeline does.

    Raises:
        FaultError: the clip is missing or no video.
    """
    scaler = Scaler()
    inputs: list[NDArray[np.float32]] = []
    for _, frame in play(clip, fps=fps, loop=False):
        inputs.append(scaler.scale(frame, (3, SIDE, SIDE))[np.newaxis])
        if len(inputs) == most:
            break
    return inputs
