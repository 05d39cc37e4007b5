import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.pipelines.sources.stalls import Reason
from edge.pipelines.sources.watch import Watch
from shared.clock import VirtualClock
from shared.messages import Stall


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def watch(clock: VirtualClock) -> Watch:
    return Watch(silent_s=5, clock=clock)


def test_silence_is_noticed_after_its_time_and_over_with_the_next_frame(watch: Watch, clock: VirtualClock) -> None:
    began = clock.now()
    clock.advance(2)
    assert watch.frame() is None
    clock.advance(4.9)
    assert watch.check() is None
    clock.advance(0.1)
    noticed = watch.check()
    assert noticed == Stall(reason="silent", since=began + 2, noticed=began + 7, until=0.0, text="nothing came for 5 s")
    clock.advance(30)
    assert watch.check() is None  # told once
    over = watch.frame()
    assert over is not None
    assert (over.reason, over.since, over.noticed, over.until) == ("silent", began + 2, began + 7, began + 37)
    assert watch.frame() is None


def test_packets_without_a_frame_are_another_reason(watch: Watch, clock: VirtualClock) -> None:
    for _ in range(6):
        clock.advance(1)
        watch.packet()
    stall = watch.check()
    assert stall is not None
    assert stall.reason == "broken"


def test_an_error_is_noticed_at_once_and_keeps_its_reason(watch: Watch, clock: VirtualClock) -> None:
    began = clock.now()
    clock.advance(1)
    stall = watch.trouble(Reason.ENDED, "connection reset")
    assert stall is not None
    assert (stall.reason, stall.since, stall.noticed) == ("ended", began, began + 1)
    clock.advance(10)
    assert watch.trouble(Reason.UNREACHABLE, "refused") is None
    assert watch.check() is None
    over = watch.frame()
    assert over is not None
    assert (over.reason, over.text) == ("ended", "connection reset")


def test_a_frozen_picture_is_over_only_with_another_one(watch: Watch, clock: VirtualClock) -> None:
    clock.advance(40)
    assert watch.frame() is None
    stall = watch.frozen(since=5.0)
    assert stall is not None
    assert (stall.reason, stall.noticed - stall.since) == ("frozen", 35)
    assert watch.frame() is None
    over = watch.fresh()
    assert over is not None
    assert over.until == clock.now()


def test_it_is_to_be_looked_at_when_the_time_of_the_last_frame_is_over(watch: Watch, clock: VirtualClock) -> None:
    clock.advance(3)
    watch.frame()
    clock.advance(1)
    assert watch.due == pytest.approx(8)
    clock.advance(10)
    watch.check()
    assert watch.due == pytest.approx(19)


@given(
    st.lists(
        st.tuples(st.sampled_from(["frame", "fresh", "packet", "check", "ended", "frozen"]), st.floats(0, 20)),
        max_size=60,
    )
)
def test_stalls_come_in_pairs_and_never_two_at_once(steps: list[tuple[str, float]]) -> None:
    clock = VirtualClock()
    watch = Watch(silent_s=5, clock=clock)
    open_stall: Stall | None = None
    quiet = 0.0
    for step, seconds in steps:
        clock.advance(seconds)
        quiet += seconds
        if step == "packet":
            watch.packet()
            told = None
        elif step == "ended":
            told = watch.trouble(Reason.ENDED, "")
        elif step == "frozen":
            told = watch.frozen(since=clock.monotonic() - 1)
        else:
            told = {"frame": watch.frame, "fresh": watch.fresh, "check": watch.check}[step]()
        quiet = 0.0 if step == "frame" else quiet
        if told is not None and told.until == 0.0:
            assert open_stall is None
            open_stall = told
        elif told is not None:
            assert open_stall is not None
            assert (told.since, told.reason, told.noticed) == (
                open_stall.since, open_stall.reason, open_stall.noticed,
            )  # fmt: skip
            assert told.since <= told.noticed <= told.until
            open_stall = None
        if step == "check" and quiet >= 5:
            assert open_stall is not None
        assert (watch.stalled is None) == (open_stall is None)
