"""What a release was trained on, as sketches: the yardstick for all its later windows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge.drift.answers import answer_features
from edge.drift.features import features_for
from edge.drift.window import Observation, Sketches
from edge.inference.host import Served
from edge.pipelines.answer import Interpret
from edge.pipelines.tasks.interpret import Interpreter, prepare
from shared.messages import DriftReport

LEAST_LABELLED = 40
"""Labelled live examples from which on they alone are the yardstick."""

MOST_LABELLED = 500
"""Of these the newest: what the sensor saw before an earlier shift is no yardstick for today."""

THRESHOLD = 0.5
"""Least score of an object where nobody says another."""

_BATCH = 64
"""Inputs inferred at once."""


def build_reference(
    served: Served,
    *,
    pipeline: str,
    training: NDArray[np.float32],
    holdout: NDArray[np.float32],
    at: float,
    labelled: int = 0,
    interpret: Interpret | None = None,
) -> DriftReport:
    """Summarise this device's share of the data behind `served`; takes as long as the hold-out's inference.

    Features come from the training inputs. Confidence and classes come from the hold-out, answered by the served
    model: on what it was trained on it is surer than it will ever be.

    Args:
        served: the release and its session.
        pipeline: whose inputs the reference is for.
        training: [n, *input_shape]; labelled live examples come last, in the order of the stream.
        holdout: [m, *input_shape].
        at: now, Unix seconds.
        labelled: how many of `training` were labelled live. Once there are enough, features come from them alone:
            a release that learned a shifted stream is measured against that stream, not against a mixture of it
            with what was there before, from which it would seem shifted for ever.
        interpret: reads the model's outputs, as its schema says when left out.

    Raises:
        FaultError: the model fails on the hold-out.
    """
    features = features_for(served.schema)
    interpret = interpret or Interpreter(threshold=THRESHOLD)
    sketches = Sketches()
    for batch in _batches(holdout):
        x = prepare(batch, served.schema)
        answers = interpret(served.session.run(x), served.schema, x)
        good = [answer for answer in answers if answer is not None]
        sketches.add(
            Observation(
                release=served.release.id,
                features=answer_features(good),
                confidence=[answer.confidence for answer in good],
                labels=[label for answer in good for label in answer.labels],
            )
        )
    yardstick = training[-min(labelled, MOST_LABELLED) :] if labelled >= LEAST_LABELLED else training
    for batch in _batches(yardstick):
        sketches.add_features(features(batch))
    sketches.count = len(yardstick)
    return sketches.report(
        pipeline=pipeline, model=served.release.model, release=served.release.id, since=at, until=at, reference=True
    )


def _batches(x: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    return [x[start : start + _BATCH] for start in range(0, len(x), _BATCH)]
