from collections import Counter

import pytest

from cloud.training.events import (
    AttemptStarted,
    Phase,
    PhaseStarted,
    RoundFinished,
    RoundStarted,
    UpdateAccepted,
)
from simulations.scenarios.durable.plan import ROUNDS, Victim, moment, plan

DEVICES = ("a", "b", "c")


def test_a_plan_is_a_function_of_its_seed_and_reaches_every_process():
    whole = plan(7, DEVICES)
    assert whole == plan(7, DEVICES) != plan(8, DEVICES)
    assert len(whole) == 42
    counted = Counter(kill.victim for kill in whole)
    assert counted.keys() == set(Victim)
    assert min(counted.values()) >= 3
    for kill in whole:
        assert (kill.device in DEVICES) == (kill.victim in (Victim.TRAINER, Victim.AGENT))
        assert 0 <= kill.round <= ROUNDS


@pytest.mark.parametrize("kills", [1, 8, 41])
def test_a_shorter_plan_keeps_the_order(kills):
    whole = plan(7, DEVICES)
    shorter = plan(7, DEVICES, kills=kills)
    assert len(shorter) == kills
    assert len({kill.victim for kill in shorter}) == min(kills, len(Victim))
    rest = iter(whole)
    assert all(kill in rest for kill in shorter)


def test_a_moment_is_read_from_the_ledger():
    events = [AttemptStarted(at=1, flower_run=1, from_round=1)]
    assert moment(events, checkpoints=[]).step == "start"
    events += [PhaseStarted(at=2, phase=Phase.ROUNDS), RoundStarted(at=3, round=1, cohort=["a", "b"])]
    assert moment(events, checkpoints=[]) == (Phase.ROUNDS, 1, "train", 3)
    events.append(UpdateAccepted(at=4, round=1, device="b", examples=1, loss=0.0))
    assert moment(events, checkpoints=[]).step == "upload"
    events.append(UpdateAccepted(at=5, round=1, device="a", examples=1, loss=0.0))
    assert moment(events, checkpoints=[]).step == "checkpoint"
    assert moment(events, checkpoints=[1]).step == "evaluate"
    events.append(
        RoundFinished(
            at=6, round=1, train_loss=0, loss=0, accuracy=0, devices={}, accepted=2, refused=0, digest="", seconds=1
        )
    )
    assert moment(events, checkpoints=[1]).step == "between rounds"
    assert moment([*events, PhaseStarted(at=7, phase=Phase.EXPORT)], checkpoints=[1]).step == "export"
