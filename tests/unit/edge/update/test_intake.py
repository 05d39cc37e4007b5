"""What came while a thread was busy is taken together, in order, and no more than there is room for."""

import asyncio
import threading

import pytest

from edge.update.intake import MOST, Arrival, Intake, Outcome
from shared.errors import TrustError


def arrival(index: int) -> Arrival:
    return Arrival(index, b"%d" % index, "z")


class Disk:
    """Takes a chunk when it is told to."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.threads: list[int] = []
        self.taken: list[int] = []

    def accept(self, chunk: Arrival) -> bool:
        self.go.wait(10)
        self.threads.append(threading.get_ident())
        if chunk.index == 2:
            raise TrustError("chunk 2 is not the one that was signed")
        if chunk.index == 99:
            raise RuntimeError("nobody foresaw it")
        self.taken.append(chunk.index)
        return chunk.index != 3


async def test_a_wrong_chunk_does_not_hold_up_those_behind_it() -> None:
    disk, outcomes = Disk(), list[Outcome]()
    disk.go.set()
    intake = Intake(disk.accept, done=outcomes.append)
    for index in range(5):
        await intake.offer(arrival(index))
    await intake.take_once()
    assert [(outcome.index, outcome.new) for outcome in outcomes] == [
        (0, True), (1, True), (2, False), (3, False), (4, True),
    ]  # fmt: skip
    assert [type(outcome.error) for outcome in outcomes if outcome.error] == [TrustError]
    assert len(set(disk.threads)) == 1


async def test_whoever_brings_more_than_there_is_room_for_waits_and_is_let_go_at_the_end() -> None:
    disk = Disk()
    intake = Intake(disk.accept, done=lambda _: None)
    running = asyncio.create_task(intake.run())
    await intake.offer(arrival(0))
    while not running.done() and intake.waiting:
        await asyncio.sleep(0)
    for index in range(1, MOST + 1):
        await intake.offer(arrival(index))
    over = asyncio.create_task(intake.offer(arrival(MOST + 1)))
    await asyncio.sleep(0.01)
    assert intake.waiting == MOST
    assert not over.done()
    running.cancel()
    await asyncio.wait([running])
    await asyncio.wait_for(over, 1)
    disk.go.set()


async def test_an_error_that_nobody_foresaw_is_not_swallowed() -> None:
    disk = Disk()
    disk.go.set()
    intake = Intake(disk.accept, done=lambda _: None)
    await intake.offer(arrival(99))
    with pytest.raises(RuntimeError):
        await intake.run()
