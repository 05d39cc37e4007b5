"""What a job refuses before anybody has trained."""

import numpy as np
import pytest

from cloud.training.events import Phase, PhaseStarted
from cloud.training.ledger import RunLedger
from shared.errors import RefusedError
from shared.task import Examples
from tests.in_process_run import devices, run


def examples(seed, count):
    source = np.random.default_rng(seed)
    return Examples(source.random((count, 1, 28, 28), np.float32), source.integers(0, 10, count))


def test_a_model_that_no_file_holds_is_refused_before_the_first_round(tmp_path, monkeypatch):
    monkeypatch.setattr("cloud.training.job.MOST_RELEASED_BYTES", 4 * 7850)
    stores = devices(tmp_path, "fashion-linear", [(examples(seed, 8), examples(seed + 9, 4)) for seed in (1, 2)])
    with pytest.raises(RefusedError, match="cannot be released"):
        run(tmp_path / "run", stores, task="fashion-linear", rounds=1, seed=1)
    phases = [event.phase for event in RunLedger(tmp_path / "run").events() if isinstance(event, PhaseStarted)]
    assert phases == [Phase.GATHER, Phase.STATISTICS]
