"""One batch through one model: a function of the samples and the served release, run in a worker thread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edge.drift.features import Features, features_for
from edge.inference.host import Served
from edge.inference.warmup import check_shapes
from edge.pipelines.answer import Answer, Interpret
from edge.pipelines.preprocess import normalise, stack
from edge.pipelines.source import Sample
from shared.errors import FaultError


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A batch as one release answered it."""

    release: str
    samples: Sequence[Sample]
    answers: Sequence[Answer | None]
    """None where the input did not fit, the model failed, or its answer was not finite."""

    features: Features
    """Of the inputs that were answered, in order."""

    fault: str = ""
    """Why the model failed on the whole batch."""


def infer(served: Served, samples: Sequence[Sample], interpret: Interpret) -> Outcome:
    """Answer `samples` with one release."""
    schema, release = served.schema, served.release.id
    shape = tuple(schema.input_shape)
    fitting = [index for index, sample in enumerate(samples) if sample.x.shape == shape]
    answers: list[Answer | None] = [None] * len(samples)
    if not fitting:
        return Outcome(release=release, samples=samples, answers=answers, features={}, fault="inputs do not fit")
    batch = stack([samples[index].x for index in fitting])
    try:
        outputs = served.session.run(normalise(batch, schema))
        check_shapes(outputs, schema=schema, batch=len(batch))
        read = interpret(outputs, schema)
    except FaultError as error:
        return Outcome(release=release, samples=samples, answers=answers, features={}, fault=str(error))
    for index, answer in zip(fitting, read, strict=True):
        answers[index] = answer
    answered = [answer is not None for answer in read]
    features = features_for(schema)(batch if all(answered) else batch[answered]) if any(answered) else {}
    return Outcome(release=release, samples=samples, answers=answers, features=features)
