"""One turn of a pipeline's thread: the champion answers all inputs, and a challenger with a split its share of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from edge.inference.challenger import Challenger
from edge.inference.served import Served
from edge.pipelines.answer import Answer
from edge.pipelines.hooks import Hooks
from edge.pipelines.order import Place
from edge.pipelines.shadow import Seen, Shadow, Taken, is_challengers, merged
from edge.pipelines.sources.port import Sample
from edge.pipelines.step import Outcome, infer
from shared.clock import Clock


class Given(NamedTuple):
    """An input, and the answer that counts."""

    sample: Sample
    release: str
    """Who gave it; the champion where nobody could."""

    answer: Answer | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A batch in its turn."""

    outcome: Outcome
    """The champion's, of the whole batch."""

    given: Sequence[Given]
    """The answers that count, in order."""

    done: float
    """Monotonic seconds when they were there."""

    left: Seen
    """What the challenger may still be shown: all that it was not asked for."""

    taken: Taken | None = None
    """What the challenger said where it was asked."""


def take_turn(
    served: Served,
    challenger: Challenger | None,
    samples: Sequence[Sample],
    *,
    shadow: Shadow,
    hooks: Hooks,
    clock: Clock,
    place: Place,
) -> Turn:
    """Answer a batch; blocks.

    Args:
        served: whose answers they are.
        challenger: who answers its share of them.
        samples: the batch.
        shadow: how the challenger is asked.
        hooks: how outputs are read.
        clock: for what it took.
        place: of this turn among those under way.
    """
    began = clock.monotonic()
    outcome = infer(served, samples, hooks.interpret)
    done = clock.monotonic()
    seen = Seen.of(outcome, place.took(began, done) * 1e3)
    split = challenger.terms.split if challenger is not None else 0.0
    mask = [split > 0 and is_challengers(sample.id, split) for sample in samples]
    if challenger is None or not any(mask):
        given = [
            Given(sample, outcome.release, answer) for sample, answer in zip(samples, outcome.answers, strict=True)
        ]
        return Turn(outcome=outcome, given=given, done=done, left=seen)
    taken = shadow.ask(challenger, seen.part(mask))
    names = (outcome.release, challenger.release)
    counted = zip(samples, merged(outcome.answers, taken, mask), strict=True)
    return Turn(
        outcome=outcome,
        given=[Given(sample, names[its], answer) for sample, (answer, its) in counted],
        done=clock.monotonic(),
        left=seen.part([not asked for asked in mask]),
        taken=taken,
    )
