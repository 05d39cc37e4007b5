"""One batch through one model: a function of the samples and the served release, run in a worker thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge.drift.features import Features, features_for
from edge.inference.host import Served
from edge.inference.warmup import check_shapes
from edge.pipelines.answer import Answer, Interpret
from edge.pipelines.preprocess import stack
from edge.pipelines.sources.port import Sample
from edge.pipelines.tasks.interpret import prepare
from shared.errors import FaultError


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A batch as one release answered it."""

    release: str
    samples: Sequence[Sample]
    answers: Sequence[Answer | None]
    """None where the input did not fit, the model failed, or its answer was not finite."""

    features: Callable[[], Features]
    """Takes those of the inputs that were answered, in order; for whoever looks at them."""

    fault: str = ""
    """Why the model failed on the whole batch."""


class Read(NamedTuple):
    """A batch as a session answered it."""

    answers: list[Answer | None]
    """In the order of the samples."""

    batch: NDArray[np.float32] | None
    """The inputs that were answered, in order, as they were before normalisation."""

    fault: str = ""
    """Why there is no answer at all."""


def infer(served: Served, samples: Sequence[Sample], interpret: Interpret) -> Outcome:
    """Answer `samples` with one release."""
    answers, batch, fault = read(served, samples, interpret)
    features = partial(features_for(served.schema), batch) if batch is not None else dict
    return Outcome(release=served.release.id, samples=samples, answers=answers, features=features, fault=fault)


def read(served: Served, samples: Sequence[Sample], interpret: Interpret) -> Read:
    """Answer `samples` with one release, and nothing else."""
    schema = served.schema
    shape = tuple(schema.input_shape)
    fitting = [index for index, sample in enumerate(samples) if sample.x.shape == shape]
    answers: list[Answer | None] = [None] * len(samples)
    if not fitting:
        return Read(answers, None, "inputs do not fit")
    batch = stack([samples[index].x for index in fitting])
    try:
        x = prepare(batch, schema)
        outputs = served.session.run(x)
        check_shapes(outputs, schema=schema, batch=len(batch))
        given = interpret(outputs, schema, x)
    except FaultError as error:
        return Read(answers, None, str(error))
    for index, each in zip(fitting, given, strict=True):
        answers[index] = each
    answered = [each is not None for each in given]
    return Read(answers, (batch if all(answered) else batch[answered]) if any(answered) else None)
