import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.training.events import RoundFinished, RoundStarted, UpdateAccepted
from cloud.training.pace import LEAST_SAMPLES, Pace, check_pace, deadline_s, durations, enough
from shared.errors import ContractError

SECONDS = st.lists(st.floats(0, 1e4), max_size=300)


@given(SECONDS, st.floats(0.1, 5), st.floats(0.01, 1), st.floats(0, 20))
def test_a_deadline_stays_within_its_bounds(took, factor, quantile, least):
    found = deadline_s(Pace(factor=factor, quantile=quantile, least_s=least), took, timeout_s=60.0)
    assert min(least, 60.0) <= found <= 60.0


@given(SECONDS)
def test_without_a_factor_the_deadline_is_the_time_out(took):
    assert deadline_s(Pace(), took, timeout_s=33.0) == 33.0


@given(st.lists(st.floats(0, 100), min_size=LEAST_SAMPLES, max_size=100), st.floats(1, 10))
def test_slower_devices_never_shorten_a_deadline(took, more):
    pace = Pace(factor=1.5, least_s=0.0)
    assert deadline_s(pace, [one + more for one in took], timeout_s=900) >= deadline_s(pace, took, timeout_s=900)


def test_it_is_the_factor_times_the_quantile():
    took = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 100.0]
    assert deadline_s(Pace(factor=2.0, quantile=0.9, least_s=1.0), took, timeout_s=60.0) == 18.0
    assert deadline_s(Pace(factor=2.0, quantile=1.0, least_s=1.0), took, timeout_s=60.0) == 60.0
    assert deadline_s(Pace(factor=2.0), took[: LEAST_SAMPLES - 1], timeout_s=60.0) == 60.0


def test_a_round_is_closed_by_a_quorum_of_the_wanted_and_never_below_the_least():
    assert not enough(Pace(), accepted=99, wanted=10, least=1)
    assert not enough(Pace(quorum=0.8), accepted=7, wanted=10, least=1)
    assert enough(Pace(quorum=0.8), accepted=8, wanted=10, least=1)
    assert not enough(Pace(quorum=0.1), accepted=2, wanted=10, least=3)


def test_only_committed_rounds_are_counted_and_who_was_late_took_as_long_as_may_be():
    def started(round_, at):
        return RoundStarted(at=at, round=round_, cohort=["a", "b", "c"])

    def accepted(round_, device, at):
        return UpdateAccepted(at=at, round=round_, device=device, examples=1, loss=0.0)

    done = RoundFinished(
        at=20, round=1, train_loss=0, loss=0, accuracy=0, devices={}, accepted=2, refused=0, digest="", seconds=9
    )
    events = [
        started(1, 0.0),
        accepted(1, "a", 7.0),
        started(1, 10.0),
        accepted(1, "a", 12.0),
        accepted(1, "b", 13.0),
        done,
        started(2, 20.0),
        accepted(2, "a", 21.0),
    ]
    assert durations(events, timeout_s=60.0) == [2.0, 3.0, 60.0]


@pytest.mark.parametrize("wrong", [{"quorum": 1.1}, {"quantile": 0.0}, {"factor": -1.0}, {"budget_s": -1.0}])
def test_a_pace_out_of_range_is_refused(wrong):
    with pytest.raises(ContractError):
        check_pace(Pace(**wrong))
