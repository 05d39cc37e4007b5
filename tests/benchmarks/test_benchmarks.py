"""Benchmarks that need no server run here once, so that they do not rot between two measurements."""

import math
from functools import partial

import pytest

from tests.benchmarks import activation, aggregation, sketching, trust_import
from tests.benchmarks.figure import compare


def test_a_figure_carries_what_a_machines_speed_does_not_change() -> None:
    figure = compare(name="x", ours=3.0, peer=2.0, unit="s", better="lower", what_ours="a", what_peer="b")
    assert figure.ratio == 1.5


@pytest.mark.slow
@pytest.mark.parametrize(
    "measure",
    [
        partial(aggregation.measure, clients=9, size=1_000_000),
        sketching.measure,
        activation.measure,
        trust_import.measure,
    ],
    ids=["aggregation", "sketching", "activation", "trust_import"],
)
def test_a_benchmark_gives_figures(measure) -> None:
    for figure in measure(turns=1):
        assert figure.ours > 0
        assert figure.peer > 0
        assert math.isfinite(figure.ratio)
