from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.pipelines.answer import Answer, Detection
from edge.pipelines.scene.tracking import Tracker, TrackSettings
from edge.pipelines.sources.port import Sample
from shared.objects import overlaps

BOX = (0.4, 0.1, 0.6, 0.2)


def look(tracker: Tracker, at: float, *found: Detection) -> list[int]:
    sample = Sample(id=f"cam:{at}", x=np.zeros((3, 4, 4), np.float32), at=at, ready=at)
    answer = Answer(labels=tuple(each.label for each in found), confidence=0.0, detections=found)
    return [each.track for each in tracker(sample, answer).detections]


def person(box: tuple[float, ...] = BOX, score: float = 0.9, label: str = "person") -> Detection:
    y1, x1, y2, x2 = box
    return Detection(label, score, (y1, x1, y2, x2))


def moved(by: float, *, lane: float = 0.4) -> Detection:
    return person((lane, 0.1 + by, lane + 0.2, 0.2 + by))


def test_one_object_keeps_its_number_while_it_moves() -> None:
    tracker = Tracker()
    assert [look(tracker, step * 0.2, moved(0.02 * step)) for step in range(20)] == [[1]] * 20


def test_it_is_found_again_where_it_should_be_by_then() -> None:
    tracker = Tracker()
    for step in range(10):
        look(tracker, step * 0.2, moved(0.03 * step))
    assert look(tracker, 9 * 0.2 + 1.0, moved(0.03 * 14)) == [1]  # five steps unseen, and beside where it was last
    assert overlaps(np.array([moved(0.27).box]), np.array([moved(0.42).box]))[0, 0] == 0


def test_it_is_another_one_after_too_long() -> None:
    tracker = Tracker(TrackSettings(lost_s=1.0))
    assert [look(tracker, at, person()) for at in (0.0, 1.0, 2.1)] == [[1], [1], [2]]


def test_a_weak_detection_goes_on_with_a_track_and_begins_none() -> None:
    tracker = Tracker()
    assert look(tracker, 0.0, person(score=0.4)) == [0]
    assert look(tracker, 0.2, person(score=0.9)) == [1]
    assert look(tracker, 0.4, person(score=0.4), moved(0.5)) == [1, 2]


def test_a_sure_detection_goes_before_a_weak_one_that_lies_better() -> None:
    tracker = Tracker()
    look(tracker, 0.0, person())
    assert look(tracker, 0.2, person(score=0.4), moved(0.02)) == [0, 1]


def test_things_of_another_kind_are_other_things() -> None:
    tracker = Tracker()
    assert [look(tracker, 0.0, person()), look(tracker, 0.2, person(label="dog"))] == [[1], [2]]


def test_a_clock_that_is_set_back_begins_anew() -> None:
    tracker = Tracker()
    assert [look(tracker, at, person()) for at in (100.0, 3.0, 3.2)] == [[1], [2], [2]]


def test_what_has_no_objects_passes_as_it_is() -> None:
    answer = Answer(labels=("walk",), confidence=0.9, index=1)
    sample = Sample(id="a:1", x=np.zeros(3, np.float32), at=0.0, ready=0.0)
    assert Tracker()(sample, answer) is answer


@given(
    lanes=st.lists(
        st.tuples(st.integers(0, 4), st.floats(-0.03, 0.03), st.floats(0.1, 0.8)), max_size=5, unique_by=lambda o: o[0]
    ),
    seen=st.lists(st.lists(st.booleans(), min_size=5, max_size=5), max_size=25),
    shuffle=st.randoms(use_true_random=False),
)
def test_objects_in_lanes_of_their_own_never_change_numbers(lanes: list, seen: list, shuffle: object) -> None:  # type: ignore[type-arg]
    """Whatever the order of detections, and where some are missed for less than a second."""
    tracker, known, unseen = Tracker(TrackSettings(lost_s=100.0)), {}, {}  # type: ignore[var-annotated]
    for step, shown in enumerate(seen):
        there = []
        for lane, speed, start in lanes:
            late = unseen.get(lane, 0)
            if shown[lane] or late >= 3:
                there.append(
                    (lane, person((lane * 0.2, start + speed * step, lane * 0.2 + 0.18, start + speed * step + 0.3)))
                )
            unseen[lane] = 0 if shown[lane] or late >= 3 else late + 1
        shuffle.shuffle(there)  # type: ignore[attr-defined]
        for (lane, _), number in zip(there, look(tracker, step * 0.2, *(each for _, each in there)), strict=True):
            assert number > 0
            assert known.setdefault(lane, number) == number
    assert len(set(known.values())) == len(known)


boxes = st.tuples(*[st.floats(0, 1)] * 4)


@given(
    frames=st.lists(
        st.lists(st.builds(person, boxes, st.floats(0, 1), st.sampled_from(["a", "b"])), max_size=6), max_size=8
    ),
    times=st.lists(st.floats(0, 10), min_size=8, max_size=8),
)
def test_no_number_is_given_twice_and_the_same_frames_give_the_same(frames: list, times: list) -> None:  # type: ignore[type-arg]
    said = []
    for _ in range(2):
        tracker = Tracker()
        said.append([look(tracker, at, *found) for at, found in zip(times, frames, strict=False)])
    assert said[0] == said[1]
    for found, numbers in zip(frames, said[0], strict=True):
        given_out = [number for number in numbers if number]
        assert len(set(given_out)) == len(given_out)
        assert all(number for number, each in zip(numbers, found, strict=True) if each.score >= 0.6)
    first_seen = [n for numbers in said[0] for n in numbers if n]
    assert all(b <= max(first_seen[: i + 1], default=0) + 1 for i, (_, b) in enumerate(pairwise(first_seen)))


def test_overlap() -> None:
    one = np.array([[0, 0, 1, 1], [0, 0, 0.5, 0.5], [0.3, 0.3, 0.3, 0.3]])
    assert overlaps(one, one) == pytest.approx(np.array([[1, 0.25, 0], [0.25, 1, 0], [0, 0, 0]]))
