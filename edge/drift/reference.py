"""What a release was trained on, as sketches: the yardstick for all its later windows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge.drift.features import features_for
from edge.drift.window import Observation, Sketches
from edge.inference.host import Served
from edge.pipelines.answer import Interpret
from edge.pipelines.classify import classify
from edge.pipelines.preprocess import normalise
from shared.messages import DriftReport

_BATCH = 64
"""Inputs inferred at once."""


def build_reference(
    served: Served,
    *,
    pipeline: str,
    training: NDArray[np.float32],
    holdout: NDArray[np.float32],
    at: float,
    interpret: Interpret = classify,
) -> DriftReport:
    """Summarise this device's share of the data behind `served`; takes as long as the hold-out's inference.

    Features come from the training inputs [n, *input_shape]. Confidence and classes come from the hold-out
    [m, *input_shape], answered by the served model: on what it was trained on it is surer than it will ever be.

    Raises:
        FaultError: the model fails on the hold-out.
    """
    features = features_for(served.schema)
    sketches = Sketches()
    for batch in _batches(holdout):
        answers = interpret(served.session.run(normalise(batch, served.schema)), served.schema)
        good = [answer for answer in answers if answer is not None]
        sketches.add(
            Observation(
                release=served.release.id,
                features={},
                confidence=[answer.confidence for answer in good],
                labels=[label for answer in good for label in answer.labels],
            )
        )
    for batch in _batches(training):
        sketches.add_features(features(batch))
    sketches.count = len(training)
    return sketches.report(
        pipeline=pipeline, model=served.release.model, release=served.release.id, since=at, until=at, reference=True
    )


def _batches(x: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    return [x[start : start + _BATCH] for start in range(0, len(x), _BATCH)]
