from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from edge.link.doubts import FORGET_S, MOST_FILES, MOST_S, Doubts, pause_s


def test_the_first_question_is_free_and_the_pauses_double():
    doubts = Doubts()
    asked = [second for second in range(60) if doubts.ask("a", now=second)]
    assert asked == [0, 3, 8, 18, 38]


def test_each_file_has_its_own_pauses():
    doubts = Doubts()
    assert doubts.ask("a", now=0)
    assert doubts.ask("b", now=0)
    assert not doubts.ask("a", now=1)


def test_an_old_doubt_is_forgotten():
    doubts = Doubts()
    for now in range(0, 6000, 10):
        doubts.ask("a", now=now)
    later = 6000 + FORGET_S
    assert doubts.ask("a", now=later)
    assert not doubts.ask("a", now=later + pause_s(1) - 0.1)
    assert doubts.ask("a", now=later + pause_s(1))


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 100)), max_size=200))
def test_however_often_it_is_pressed_a_file_is_asked_for_no_more_than_its_pauses_allow(presses):
    doubts, now, asked = Doubts(), 0.0, {}
    for name, after in presses:
        now += after
        if doubts.ask(name, now=now):
            asked.setdefault(name, []).append(now)
    for times in asked.values():
        for index, (one, two) in enumerate(pairwise(times), start=1):
            assert two - one >= min(pause_s(index), MOST_S) or one - times[0] > FORGET_S


def test_a_flood_of_names_takes_no_memory():
    doubts = Doubts()
    for number in range(10 * MOST_FILES):
        assert doubts.ask(str(number), now=0)
    assert len(doubts._asked) == MOST_FILES
