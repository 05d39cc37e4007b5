import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.pipelines.sources.chain import Chain
from edge.pipelines.sources.frames import FrameSource, Intake
from edge.pipelines.sources.pace import Pace
from edge.pipelines.sources.port import Drop
from shared.bundle import Schema
from shared.clock import SystemClock
from shared.errors import FaultError
from shared.messages import Stall

SIDE = 32
SCHEMA = Schema(kind="detection", labels=["a"], input_shape=[3, SIDE, SIDE])


def grey(value: int) -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(np.full((48, 64, 3), value, np.uint8), format="rgb24")


class Script:
    """A player whose steps are given."""

    def __init__(self, *steps: Callable[[Intake], Any]) -> None:
        self.steps = steps
        self.done = threading.Event()

    def play(self, intake: Intake) -> None:
        for step in self.steps:
            step(intake)
        self.done.set()


def offers(count: int, *, value: int = 100) -> list[Callable[[Intake], Any]]:
    return [lambda intake, at=float(at): intake.offer(grey(value), at=at) for at in range(count)]


def source(player: Any, **settings: Any) -> FrameSource:
    made = FrameSource(player, stream="cam", clock=SystemClock(), **settings)
    made.fit(SCHEMA)
    return made


async def drain(camera: FrameSource) -> int:
    taken = 0
    while samples := await camera.take(4):
        taken += len(samples)
    return taken


async def test_the_oldest_frame_goes_when_the_queue_is_full() -> None:
    player = Script(*offers(10))
    camera = source(player, queue=3)
    first = asyncio.create_task(camera.take(1))
    assert await asyncio.to_thread(player.done.wait, 60)
    ids = [sample.id for sample in await first]
    while samples := await camera.take(1):
        ids += [sample.id for sample in samples]
    await camera.close()
    assert ids[-3:] == ["cam:7", "cam:8", "cam:9"]
    assert camera.received == 10 == len(ids) + camera.dropped["late"]


@given(
    frames=st.lists(st.sampled_from([None, *Drop]), max_size=40),
    queue=st.integers(1, 5),
    taken=st.integers(0, 40),
    judged=st.integers(2, 5),
)
def test_what_came_in_was_taken_or_dropped_for_a_reason(frames: Any, queue: int, taken: int, judged: int) -> None:
    def gate(frame: Any, at: float) -> Drop | None:
        return Drop.STILL if int(at) % judged == 0 else None

    steps: list[Callable[[Intake], Any]] = []
    for at, drop in enumerate(frames):
        if drop is None:
            steps.append(lambda intake, at=float(at): intake.offer(grey(1), at=at))
        else:
            steps.append(lambda intake, drop=drop: intake.lose(drop))

    async def run() -> tuple[int, FrameSource]:
        camera = source(Script(*steps), queue=queue, chain=Chain(gates=[gate]))
        count = 0
        while count < taken and (samples := await camera.take(2)):
            count += len(samples)
        await camera.close()
        return count, camera

    count, camera = asyncio.run(run())
    assert camera.received == count + sum(camera.dropped.values())
    assert set(camera.dropped) <= set(Drop)


async def test_nobody_sees_a_frame_before_its_mask() -> None:
    seen: list[int] = []

    def mask(frame: av.VideoFrame) -> av.VideoFrame:
        return grey(0)

    def gate(frame: av.VideoFrame, at: float) -> None:
        seen.append(int(frame.to_ndarray(format="rgb24").max()))

    camera = source(Script(*offers(3, value=200)), chain=Chain(mask=mask, gates=[gate]), waits=True)
    (sample,) = await camera.take(1)
    assert sample.x.max() == -1
    assert sample.picture is not None
    assert sample.picture().max() == 0
    camera.fit(Schema(kind="detection", labels=[], input_shape=[3, 16, 16]))
    (sample,) = await camera.take(1)
    assert (sample.x.shape, sample.x.max()) == ((3, 16, 16), -1)
    await drain(camera)
    await camera.close()
    assert seen == [0, 0, 0]


async def test_a_mask_that_fails_lets_no_frame_pass_and_is_said() -> None:
    def mask(frame: Any) -> Any:
        raise ValueError("polygon of no area")

    camera = source(Script(*offers(3)), chain=Chain(mask=mask))
    with pytest.raises(FaultError, match="polygon of no area"):
        await camera.take(1)
    await camera.close()
    assert (camera.received, dict(camera.dropped)) == (1, {"broken": 1, "stopped": 0})


async def test_gates_are_asked_in_turn_until_one_says_no() -> None:
    asked: list[str] = []

    def first(frame: Any, at: float) -> Drop | None:
        asked.append("first")
        return Drop.FROZEN if at < 1 else None

    def second(frame: Any, at: float) -> Drop | None:
        asked.append("second")
        return Drop.STILL

    camera = source(Script(*offers(2)), chain=Chain(gates=[first, second]))
    assert await camera.take(1) == []
    await camera.close()
    assert asked == ["first", "first", "second"]
    assert {drop: count for drop, count in camera.dropped.items() if count} == {"frozen": 1, "still": 1}


async def test_stalls_are_told_once_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    stall = Stall(reason="silent", since=1.0, noticed=2.0, text="no packet came")
    over = Stall(reason="silent", since=1.0, noticed=2.0, until=5.0)
    camera = source(Script(lambda intake: intake.tell(stall), lambda intake: intake.tell(over)))
    await camera.take(1)
    assert list(camera.stalls()) == [stall, over]
    assert [each.getMessage() for each in caplog.records] == [
        "cam is silent: no packet came",
        "cam was silent for 4.0 s",
    ]
    assert list(camera.stalls()) == []
    await camera.close()


async def test_closing_ends_a_player_that_waits_and_refuses_what_it_offers_later() -> None:
    answers: list[bool] = []
    player = Script(*offers(1), lambda intake: answers.append(intake.wait(600)), *offers(1))
    camera = source(player)
    await camera.take(1)
    await camera.close()
    assert player.done.is_set()
    assert answers == [False]
    assert camera.received == 1


async def test_closing_does_not_wait_for_ever_for_a_thread_that_reads() -> None:
    gate = threading.Event()
    camera = source(Script(*offers(1), lambda intake: gate.wait(60)), patience_s=0.05)
    await camera.take(1)
    await camera.close()
    gate.set()


def _times(rate: float, seconds: float, since: float = 0.0) -> Iterator[float]:
    return (since + index / rate for index in range(int(rate * seconds)))


@pytest.mark.parametrize(("rate", "fps", "share"), [(25, 5, 0.2), (30, 12, 0.4), (10, 3, 0.3), (10, 60, 1.0)])
def test_a_pace_holds_on_average(rate: int, fps: float, share: float) -> None:
    pace = Pace(fps)
    wanted = sum(pace.wants(at) for at in _times(rate, 40))
    assert wanted == pytest.approx(share * rate * 40, abs=2)


def test_a_pace_catches_nothing_up_after_a_gap() -> None:
    pace = Pace(5)
    before = [pace.wants(at) for at in _times(25, 2)]
    after = [pace.wants(at) for at in _times(25, 2, since=100.0)]
    assert sum(before) == sum(after) == 10


def test_a_pace_goes_on_when_the_clock_starts_anew() -> None:
    pace = Pace(5)
    assert [pace.wants(at) for at in (100.0, 100.1, 0.0, 0.04, 0.2)] == [True, False, True, False, True]


def test_no_pace_wants_all() -> None:
    pace = Pace(None)
    assert all(pace.wants(at) for at in (0.0, 0.0, 1.0, 0.5))
