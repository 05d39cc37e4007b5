from hypothesis import given
from hypothesis import strategies as st

from cloud.distribution.schedule import Key, Schedule
from shared.ids import Digest

QUIET = 2.0
eighths = st.integers(0, 16).map(lambda number: number / 8)  # sums of them are exact
asks = st.lists(st.tuples(eighths, st.sets(st.integers(0, 5))), max_size=30)


@given(asks)
def test_each_chunk_at_most_once_in_the_quiet_time_and_every_request_is_served(steps):
    schedule = Schedule(gather_s=0.25, quiet_s=QUIET, most=100)
    now, sent, owed = 0.0, {}, set()

    def drain():
        while (key := schedule.take(at=now)) is not None:
            assert now - sent.get(key, -QUIET) >= QUIET
            sent[key] = now
            owed.discard(key)

    for pause, indices in steps:
        now += pause
        keys = {Key(Digest("d"), index) for index in indices}
        assert schedule.ask(keys, at=now) == 0
        owed |= keys
        drain()
    while (wait := schedule.wait_s(at=now)) is not None:
        now += wait
        drain()
    assert not owed


@given(st.integers(1, 20), st.sets(st.integers(0, 50)))
def test_requests_never_hold_more_than_there_is_room_for(most, indices):
    schedule = Schedule(gather_s=0, quiet_s=0, most=most)
    turned_away = schedule.ask([Key(Digest("d"), index) for index in indices], at=0)
    assert len(schedule) == min(most, len(indices))
    assert turned_away == len(indices) - len(schedule)
