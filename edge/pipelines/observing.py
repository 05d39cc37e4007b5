"""What a batch adds to the drift window: of as many inputs as the window looks at, and no others."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

from edge.drift.answers import answer_features
from edge.drift.features import Features
from edge.drift.window import DriftWindow, Observation
from edge.pipelines.answer import Answer
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
    if not any(answer is not None for answer in outcome.answers):
        return []
    return window.add(observation(outcome.release, outcome.features(), outcome.answers), at=at)


def observation(release: str, features: Features, answers: Sequence[Answer | None]) -> Observation:
    """What a batch tells a drift window.

    Args:
        release: who answered.
        features: of the inputs that were answered, in order.
        answers: to the whole batch; None where there was none.
    """
    given = [answer for answer in answers if answer is not None]
    return Observation(
        release=release,
        features={**features, **answer_features(given)},
        confidence=[answer.confidence for answer in given],
        labels=chain.from_iterable(answer.labels for answer in given),
    )
