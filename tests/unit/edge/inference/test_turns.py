from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from edge.inference.turns import Caller, Turns

NAMES = st.sampled_from("abcd")
STEPS = st.lists(
    st.one_of(st.tuples(st.just("ask"), NAMES, st.integers(1, 6)), st.tuples(st.just("take"), st.just(""), st.just(0))),
    max_size=60,
)
PRIORITIES = {"a": 1, "b": 2, "c": 5, "d": 1}


def _caller(name: str) -> Caller:
    return Caller(name=name, priority=PRIORITIES[name])


@settings(max_examples=200, deadline=None)
@given(STEPS, st.integers(1, 12))
def test_all_that_asked_are_taken_once_and_each_caller_in_order(steps: list[tuple[str, str, int]], most: int) -> None:
    turns: Turns[tuple[str, int, int]] = Turns(most=most)
    asked: Counter[str] = Counter()
    taken: list[tuple[str, int, int]] = []
    for what, name, size in steps:
        if what == "ask":
            turns.ask(_caller(name), (name, asked[name], size), size=size)
            asked[name] += 1
            continue
        batch = turns.take()
        assert len(batch) <= 1 or sum(size for *_, size in batch) <= most
        assert batch or not len(turns)
        taken += batch
    while len(turns):
        taken += turns.take()
    for name in PRIORITIES:
        assert [number for its, number, _ in taken if its == name] == list(range(asked[name]))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=2, max_size=6), st.integers(1, 40))
def test_who_waits_alone_is_taken_before_the_others_have_had_more_than_their_share(
    priorities: list[int], head_start: int
) -> None:
    """Nobody starves, however many asks of others came before."""
    turns: Turns[str] = Turns(most=1)
    busy = [Caller(name=f"busy{index}", priority=each) for index, each in enumerate(priorities)]
    for _ in range(head_start):
        for each in busy:
            turns.ask(each, each.name, size=1)
    turns.take()
    turns.ask(Caller(name="rare"), "rare", size=1)
    waited = 0
    while (name := turns.take()[0]) != "rare":
        waited += 1
        assert waited <= len(busy)
        turns.ask(next(each for each in busy if each.name == name), name, size=1)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 8), min_size=2, max_size=5), st.integers(1, 4))
def test_while_all_wait_each_gets_turns_by_its_priority(priorities: list[int], size: int) -> None:
    turns: Turns[int] = Turns(most=size)
    callers = [Caller(name=str(index), priority=each) for index, each in enumerate(priorities)]
    for index, each in enumerate(callers):
        turns.ask(each, index, size=size)
    got: Counter[int] = Counter()
    rounds = 40
    for _ in range(rounds * sum(priorities)):
        (index,) = turns.take()
        got[index] += 1
        turns.ask(callers[index], index, size=size)
    for index, priority in enumerate(priorities):
        assert abs(got[index] - rounds * priority) <= priority + 1


def test_only_what_is_alike_shares_a_batch_and_nobody_is_passed_over_for_it() -> None:
    turns: Turns[str] = Turns(most=10)
    for name, likeness in (("a", 1), ("b", 1), ("c", 2), ("d", 1)):
        turns.ask(_caller(name), name, size=1, likeness=likeness)
    assert [turns.take() for _ in range(4)] == [["a", "b"], ["c"], ["d"], []]


def test_names_that_are_not_heard_of_any_more_are_forgotten() -> None:
    turns: Turns[int] = Turns(most=1)
    for index in range(100):
        turns.ask(Caller(name=str(index)), index, size=1)
        turns.take()
        turns.ask(Caller(name="steady"), index, size=1)
        turns.take()
    assert len(turns._ends) < 5  # the proof


def test_who_was_away_has_saved_nothing_up() -> None:
    turns: Turns[str] = Turns(most=1)
    for _ in range(100):
        turns.ask(Caller(name="steady"), "steady", size=1)
        turns.take()
    for _ in range(10):
        turns.ask(Caller(name="steady"), "steady", size=1)
        turns.ask(Caller(name="back"), "back", size=1)
    assert 4 <= [turns.take()[0] for _ in range(10)].count("back") <= 6
