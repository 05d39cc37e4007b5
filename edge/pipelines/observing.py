"""What a batch adds to the drift window: of as many inputs as the window looks at, and no others."""

from __future__ import annotations

from itertools import chain

from edge.drift.answers import answer_features
from edge.drift.window import DriftWindow, Observation
from edge.pipelines.step import Outcome
from shared.messages import DriftReport


def observe(window: DriftWindow, outcome: Outcome, *, ticks: float, at: float) -> list[DriftReport]:
    """Show a batch to the window; the reports that end with it.

    Args:
        window: of the pipeline.
        outcome: the batch.
        ticks: monotonic seconds.
        at: Unix seconds.
    """
    if not window.wants(len(outcome.answers), at=ticks):
        return []
    answers = [answer for answer in outcome.answers if answer is not None]
    if not answers:
        return []
    observation = Observation(
        release=outcome.release,
        features={**outcome.features(), **answer_features(outcome.answers)},
        confidence=[answer.confidence for answer in answers],
        labels=chain.from_iterable(answer.labels for answer in answers),
    )
    return window.add(observation, at=at)
