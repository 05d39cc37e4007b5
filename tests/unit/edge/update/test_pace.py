from hypothesis import given
from hypothesis import strategies as st

from edge.update.pace import FIRST, LEAST, WINDOW, Floor, Patience, Window
from shared.bundle import CHUNK_SIZE


def drive(window, *, rate, seconds, chunk=CHUNK_SIZE, delay=0.02):
    """A link of `rate` bytes a second that brings whatever is asked for, in order; return most bytes on their way."""
    now, free, queue, missing, most = 0.0, 0.0, [], list(range(100_000)), 0
    while now < seconds:
        if window.has_room:
            asked = window.room_for(missing)
            window.asked(asked, at=now)
            for index in asked:
                free = max(free, now + delay) + chunk / rate
                queue.append((free, index))
        most = max(most, len(window) * chunk) if now > seconds / 2 else 0
        now, index = queue.pop(0)
        window.came(index, at=now)
        missing.remove(index)
    return most


def test_a_slow_link_holds_no_more_than_a_few_seconds():
    window = Window()
    assert drive(window, rate=1e6 / 8, seconds=200) <= 2 * CHUNK_SIZE  # 1 Mbit/s
    assert window.size == LEAST


def test_a_middling_link_holds_one_to_two_seconds():
    most = drive(Window(), rate=2e6, seconds=30)
    assert 0.9 * 2e6 <= most <= 2.2 * 2e6


def test_a_fast_link_opens_the_whole_window_within_a_second():
    window = Window()
    drive(window, rate=200e6, seconds=1)
    assert window.size == WINDOW


def test_half_of_the_window_comes_before_more_is_asked_for():
    window = Window()
    missing = list(range(10))
    first = window.room_for(missing)
    assert first == [0, 1, 2, 3]
    window.asked(first, at=0)
    assert not window.has_room
    window.came(0, at=1.5)
    assert not window.has_room
    window.came(1, at=1.5)
    assert window.has_room
    assert window.room_for(missing[2:]) == [4, 5]


def test_what_is_lost_is_asked_for_again_and_less_of_it():
    window = Window()
    window.asked([0, 1, 2, 3], at=0)
    window.lost()
    assert window.room_for([0, 1, 2, 3]) == [0, 1]


def test_silence_is_longer_on_a_slow_link():
    window, patience = Window(), Patience(silence_s=1)
    assert window.silence_s(patience) == 3
    window.asked([0, 1], at=0)
    window.came(0, at=0.5)
    assert window.silence_s(patience) == 2
    window.came(1, at=4)
    assert window.silence_s(patience) == 9


@given(st.lists(st.sampled_from(["ask", "come", "stray", "refuse", "lose"])))
def test_a_window_never_holds_more_than_its_size(steps):
    window, missing, now = Window(), list(range(1000)), 0.0
    for step in steps:
        now += 0.7
        if step == "ask" and window.has_room:
            window.asked(window.room_for(missing), at=now)
        elif step == "come":
            window.came(missing.pop(0), at=now)
        elif step == "refuse":
            window.refused(missing[0])
        elif step == "lose":
            window.lost()
        assert LEAST <= window.size <= WINDOW
        assert len(window) <= max(window.size + 1, FIRST)


def test_a_drip_is_no_progress():
    patience = Patience(floor_bytes=100, floor_s=10)
    floor = Floor(patience, received=0, at=0)
    assert not floor.broken(received=50, at=9)
    assert floor.broken(received=99, at=10)
    assert not floor.broken(received=100, at=10)
    assert not floor.broken(received=150, at=19)
    assert floor.broken(received=199, at=20)
    floor.restart(received=199, at=20)
    assert not floor.broken(received=199, at=29)
