from hypothesis import given
from hypothesis import strategies as st

from cloud.training.events import RoundFinished, RoundStarted, UpdateAccepted, UpdateLate, UpdateRefused
from cloud.training.progress import ClientState, advance, project

COHORT = ["a", "b", "c", "d"]


def started(round_=1, at=1.0):
    return RoundStarted(at=at, round=round_, cohort=COHORT, excluded={"e": "it is 90 °C hot"}, quarantined=["f"])


def accepted(device, round_=1):
    return UpdateAccepted(at=2.0, round=round_, device=device, examples=7, loss=0.5)


def refused(device, reason="no answer before the deadline", round_=1):
    return UpdateRefused(at=3.0, round=round_, device=device, reason=reason)


def finished(round_=1):
    return RoundFinished(
        at=4, round=round_, train_loss=0, loss=0, accuracy=0, devices={}, accepted=1, refused=0, digest="", seconds=1
    )


def states(rounds, round_=1):
    return {device: client.state for device, client in rounds[round_].clients.items()}


def test_every_client_of_a_round_has_a_state_and_a_reason():
    late = UpdateLate(at=3.0, round=1, device="b")
    found = project([started(), accepted("a"), late, refused("d"), finished()])
    assert states(found) == {
        "a": ClientState.UPLOADED,
        "b": ClientState.LATE,
        "c": ClientState.TRAINING,
        "d": ClientState.FAILED,
        "f": ClientState.QUARANTINED,
    }
    assert found[1].clients["a"].examples == 7
    assert found[1].clients["d"].reason == "no answer before the deadline"
    assert found[1].excluded == {"e": "it is 90 °C hot"}
    assert found[1].finished


def test_who_was_asked_trains_until_something_comes():
    assert {states(project([started()]))[device] for device in COHORT} == {ClientState.TRAINING}


def test_a_repeated_round_begins_anew():
    assert states(project([started(), accepted("a"), started()]))["a"] is ClientState.TRAINING


def test_a_failed_evaluation_takes_no_upload_back():
    assert states(project([started(), accepted("a"), refused("a", "evaluation: gone")]))["a"] is ClientState.UPLOADED


EVENTS = st.lists(
    st.one_of(
        st.builds(started, st.integers(1, 3)),
        st.builds(accepted, st.sampled_from([*COHORT, "x"]), st.integers(1, 4)),
        st.builds(refused, st.sampled_from([*COHORT, "x"]), round_=st.integers(1, 4)),
        st.builds(finished, st.integers(1, 4)),
    ),
    max_size=30,
)


@given(EVENTS)
def test_the_projection_can_be_cut_anywhere_and_names_nobody_else(events):
    rounds = {}
    for event in events:
        before = dict(rounds)
        rounds = advance(rounds, event)
        assert before.keys() <= rounds.keys()
    assert rounds == project(events)
    assert all(set(one.clients) == {*COHORT, "f"} for one in rounds.values())
