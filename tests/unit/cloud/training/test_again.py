from hypothesis import given
from hypothesis import strategies as st

from cloud.training.again import FIRST_SILENCE_S, PAUSE_S, SLOWER, Questions


def test_a_silent_device_is_asked_again_and_each_time_later():
    questions = Questions(return_s=60)
    questions.ask(["a", "b"], at=0)
    assert questions.due(at=FIRST_SILENCE_S - 1) == []
    assert questions.answered("b", at=1)
    assert questions.due(at=FIRST_SILENCE_S) == ["a"]
    assert questions.due(at=2 * FIRST_SILENCE_S) == []
    assert questions.due(at=3 * FIRST_SILENCE_S) == ["a"]


def test_slow_training_is_no_silence():
    questions = Questions(return_s=60, longest=100)
    questions.ask(["a"], at=0)
    assert questions.due(at=SLOWER * 100 - 1) == []
    assert questions.due(at=SLOWER * 100) == ["a"]


def test_what_was_lost_is_asked_at_once_and_answered_once():
    questions = Questions(return_s=60, longest=100)
    questions.ask(["a"], at=0)
    questions.lost("a")
    assert questions.due(at=0.1) == ["a"]
    assert questions.due(at=0.2) == []
    assert questions.answered("a", at=1)
    assert not questions.answered("a", at=2)
    assert not questions


def test_an_absent_device_is_looked_for_until_it_was_away_too_long():
    questions = Questions(return_s=10)
    questions.ask(["a"], at=0)
    assert questions.away("a", at=1)
    assert questions.due(at=1 + PAUSE_S) == ["a"]
    assert questions.away("a", at=5)
    assert not questions.away("a", at=11)
    assert not questions


@given(st.lists(st.tuples(st.sampled_from("alds"), st.sampled_from("xyz"), st.floats(0, 30)), max_size=40))
def test_no_question_is_forgotten_and_none_is_answered_twice(steps):
    questions, now, closed = Questions(return_s=20.0), 0.0, set()
    questions.ask("xyz", at=now)
    for what, name, later in steps:
        now += later
        if what == "a":
            assert questions.answered(name, at=now) == (name not in closed)
            closed.add(name)
        elif what == "l":
            questions.lost(name)
        elif what == "d" and not questions.away(name, at=now):
            closed.add(name)
        else:
            assert not closed & set(questions.due(at=now))
    assert set(questions.due(at=now + 1e6)) == set("xyz") - closed
