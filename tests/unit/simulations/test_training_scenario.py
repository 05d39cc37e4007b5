"""A simulated training, whole, over a dozen clients of made-up pictures."""

import msgspec
import numpy as np
import pytest
from typer.testing import CliRunner

from shared.errors import RefusedError
from shared.task import Examples
from simulations.grid.clients import HeldClients
from simulations.images import Share
from simulations.main import app
from simulations.report.training import keep, summary
from simulations.scenarios.training.plan import GridKind, Plan, StrategyKind
from simulations.scenarios.training.play import STRATEGIES, train
from simulations.scenarios.training.record import TrainingReport

TASK = "fashion-linear"


def pictures(source, count):
    y = source.integers(0, 10, count)
    x = source.random((count, 1, 28, 28)) * 0.2
    x[np.arange(count), 0, y * 2, :] += 1.0  # a bright line, whose height is the class
    return Examples(x.astype(np.float32), y)


@pytest.fixture(scope="module")
def dealt():
    source = np.random.default_rng(3)
    sizes = (5, 40, 17, 23, 9, 31, 12, 8, 26, 14, 3, 20)
    shares = [Share(training=pictures(source, size), holdout=pictures(source, 4)) for size in sizes]
    return HeldClients(TASK, shares), pictures(source, 200)


def play(dealt, seed=5, **fields):
    return train(*dealt, Plan(task=TASK, clients=12, **fields), seed=seed)


def test_it_learns_and_tells_each_round(dealt, tmp_path):
    told = play(dealt)
    assert told.held
    assert [each.updates for each in told.rounds] == [12, 12, 12]
    assert told.rounds[-1].accuracy > told.accuracy_before + 0.2
    assert told.rounds[-1].loss < told.rounds[0].loss
    keep(told, tmp_path)
    assert msgspec.json.decode((tmp_path / "training.json").read_bytes(), type=TrainingReport) == told
    assert told.digest in (tmp_path / "training.html").read_text()
    assert summary(told).row_count == 4


def test_a_seed_gives_its_digest_again_and_another_seed_another(dealt):
    digests = [play(dealt, seed=seed, rounds=2).digest for seed in (5, 5, 6)]
    assert digests[0] == digests[1] != digests[2]


def test_the_sequential_grid_ends_in_the_same_place(dealt):
    together, alone = (play(dealt, rounds=2, grid=grid) for grid in (GridKind.VECTORISED, GridKind.SEQUENTIAL))
    assert together.rounds[-1].accuracy == pytest.approx(alone.rounds[-1].accuracy, abs=0.011)
    assert together.rounds[-1].loss == pytest.approx(alone.rounds[-1].loss, rel=1e-4)


@pytest.mark.parametrize("strategy", StrategyKind)
def test_each_strategy_is_there_and_plays(dealt, strategy):
    assert strategy in STRATEGIES
    assert play(dealt, rounds=1, strategy=strategy).held


@pytest.mark.parametrize(
    "fields", [{"task": "activity"}, {"clients": 1}, {"clients": 7_000}, {"rounds": 0}, {"alpha": 0.0}]
)
def test_what_cannot_be_played_is_refused(fields):
    with pytest.raises(RefusedError) as refused:
        Plan(**fields).check()
    assert refused.value.hint


def test_the_command_refuses_before_it_fetches_anything(tmp_path):
    asked = ["--scenario", "training", "--clients", "1", "--state", str(tmp_path / "state")]
    answer = CliRunner().invoke(app, asked)
    assert answer.exit_code == 1
    assert not (tmp_path / "state").exists()
