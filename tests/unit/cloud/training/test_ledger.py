import numpy as np
import pytest

from cloud.training.events import Phase, PhaseStarted, RoundFinished, StatisticsTaken
from cloud.training.ledger import EVENTS, Checkpoint, RunLedger
from shared.errors import ContractError, TrustError
from shared.tasks.weights import weights_digest


def entered(phase, at=1.0):
    return PhaseStarted(at=at, phase=phase)


def finished(round_, digest):
    return RoundFinished(
        at=2.0, round=round_, train_loss=1.0, loss=1.0, accuracy=0.5, devices={}, accepted=2, refused=0,
        digest=digest, seconds=1.0,
    )  # fmt: skip


def weights(value):
    return {"a": np.full((2, 3), value, dtype=np.float32), "b": np.full(4, -value, dtype=np.float32)}


def taken(digest):
    return StatisticsTaken(at=1.0, registered={"watch-1": 10}, holdout={"watch-1": 3}, digest=digest)


def test_events_come_back_in_order_and_from_an_offset(tmp_path):
    ledger = RunLedger(tmp_path)
    ledger.append(entered(Phase.GATHER))
    first, offset = ledger.read_since(0)
    ledger.append(entered(Phase.ROUNDS))
    later, end = ledger.read_since(offset)
    assert (first, later) == ([entered(Phase.GATHER)], [entered(Phase.ROUNDS)])
    assert ledger.read_since(end) == ([], end)


def test_a_torn_line_is_not_read_and_the_next_append_removes_it(tmp_path):
    ledger = RunLedger(tmp_path)
    ledger.append(entered(Phase.GATHER))
    with (tmp_path / EVENTS).open("ab") as file:
        file.write(b'{"kind":"phase-started","at":2.0,"ph')
    events, offset = ledger.read_since(0)
    assert events == [entered(Phase.GATHER)]
    ledger.append(entered(Phase.ROUNDS))
    assert ledger.read_since(offset)[0] == [entered(Phase.ROUNDS)]
    assert len((tmp_path / EVENTS).read_bytes().splitlines()) == 2


def test_a_line_that_is_torn_from_the_very_start(tmp_path):
    (tmp_path / EVENTS).write_bytes(b'{"ki')
    ledger = RunLedger(tmp_path)
    ledger.append(entered(Phase.GATHER))
    assert ledger.events() == [entered(Phase.GATHER)]


def test_a_whole_line_that_is_no_event_is_an_error(tmp_path):
    (tmp_path / EVENTS).write_bytes(b'{"kind":"unheard-of"}\n')
    with pytest.raises(ContractError):
        RunLedger(tmp_path).events()


def test_nothing_is_committed_before_the_statistics(tmp_path):
    ledger = RunLedger(tmp_path)
    ledger.write_checkpoint(Checkpoint(0, weights(1), {}))
    assert ledger.last_committed() is None


def test_the_last_finished_round_counts_not_the_last_checkpoint(tmp_path):
    ledger = RunLedger(tmp_path)
    for number in range(3):
        ledger.write_checkpoint(Checkpoint(number, weights(number), weights(0.5)))
    ledger.append(taken(weights_digest(weights(0))))
    assert ledger.last_committed()[0].round == 0
    ledger.append(finished(1, weights_digest(weights(1))))
    checkpoint, registered = ledger.last_committed()
    assert checkpoint.round == 1
    assert weights_digest(checkpoint.weights) == weights_digest(weights(1))
    assert checkpoint.state["b"].tolist() == [-0.5] * 4
    assert registered == {"watch-1": 10}


def test_a_checkpoint_that_was_exchanged_is_not_trusted(tmp_path):
    ledger = RunLedger(tmp_path)
    ledger.append(taken(weights_digest(weights(0))))
    ledger.append(finished(1, weights_digest(weights(1))))
    ledger.write_checkpoint(Checkpoint(1, weights(7), {}))
    with pytest.raises(TrustError):
        ledger.last_committed()
    (tmp_path / "round-001.npz").unlink()
    with pytest.raises(ContractError):
        ledger.last_committed()
