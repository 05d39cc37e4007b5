from cloud.training.events import AttemptStarted, Phase, PhaseStarted, RoundFinished, RoundStarted, StatisticsTaken
from cloud.training.headway import headway


def entered(phase):
    return PhaseStarted(at=0, phase=phase)


def finished(round_):
    return RoundFinished(
        at=0, round=round_, train_loss=0, loss=0, accuracy=0, devices={}, accepted=1, refused=0, digest="", seconds=0
    )


def test_only_what_survives_a_kill_is_headway():
    begun = [AttemptStarted(at=0, flower_run=1, from_round=1), entered(Phase.GATHER), entered(Phase.STATISTICS)]
    assert headway([]) == headway(begun) == 0
    taken = [*begun, StatisticsTaken(at=0, registered={}, holdout={}, digest="")]
    asked = [*taken, entered(Phase.ROUNDS), RoundStarted(at=0, round=1, cohort=[])]
    assert headway(taken) == headway(asked) == 1
    assert headway([*asked, finished(1)]) == 2


def test_a_phase_counts_the_first_time():
    once = [finished(1), entered(Phase.EXPORT), entered(Phase.CALIBRATE)]
    assert headway(once) == 3
    assert headway(once + once) == 3
    assert headway([*once, entered(Phase.JUDGE)]) == 4
