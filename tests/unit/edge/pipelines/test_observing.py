import numpy as np

from edge.drift.features import Features
from edge.drift.window import DriftSettings, DriftWindow
from edge.pipelines.answer import Answer
from edge.pipelines.observing import observe
from edge.pipelines.sources.port import Sample
from edge.pipelines.step import Outcome
from shared.clock import VirtualClock
from shared.sketch import Sketch


class Taken:
    """Features of two answered inputs, and how often somebody asked for them."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> Features:
        self.times += 1
        return {"f": np.array([1.0, 2.0], np.float32)}


def _outcome(features: Taken, *, answers: int = 2) -> Outcome:
    samples = [Sample(id=str(index), x=np.zeros(1, np.float32), at=0.0, ready=0.0) for index in range(answers + 1)]
    given = [Answer(labels=("low",), confidence=0.75, index=0)] * answers
    return Outcome(release="toy-1", samples=samples, answers=[None, *given], features=features)


def test_what_nobody_looks_at_is_never_taken() -> None:
    taken, clock = Taken(), VirtualClock()
    window = DriftWindow(pipeline="p", model="toy", settings=DriftSettings(rate=4.0))
    for _ in range(10):
        assert observe(window, _outcome(taken), ticks=clock.monotonic(), at=clock.now()) == []
    assert taken.times == 2
    clock.advance(1.0)
    observe(window, _outcome(taken), ticks=clock.monotonic(), at=clock.now())
    assert taken.times == 3
    (report,) = window.flush(at=clock.now())
    assert (report.count, report.classes, Sketch.from_bytes(report.features["f"]).count) == (6, {"low": 6}, 6)


def test_a_batch_without_answers_says_nothing() -> None:
    taken = Taken()
    window = DriftWindow(pipeline="p", model="toy")
    assert observe(window, _outcome(taken, answers=0), ticks=0.0, at=0.0) == []
    assert (taken.times, window.flush(at=1.0)) == (0, [])
