"""Numbers that models answer, as a feature of their own: where scores go, drift is seen before labels change."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from edge.drift.features import Features
from edge.pipelines.answer import Answer

VALUE = "answer.value"


def answer_features(answers: Iterable[Answer | None]) -> Features:
    """`answer.value`, one for each input that was answered with a number; nothing where none was."""
    values = [answer.value for answer in answers if answer is not None and answer.value is not None]
    return {VALUE: np.array(values, np.float32)} if values else {}
