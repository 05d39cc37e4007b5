"""Lanes: one per subscription, each with a bounded queue and a task, so that a handler sees one message at a time."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from shared.bus import Delivery, Handler
from shared.errors import ContractError, HinterlandError

log = logging.getLogger(__name__)

DEPTH = 64
"""Messages. A full lane holds back the session, which holds back the broker."""


@dataclass(slots=True)
class Counts:
    """What became of the messages that arrived."""

    handled: int = 0
    broken: int = 0
    """The handler found a contract broken; the message was dropped."""

    failed: int = 0
    """The handler failed otherwise; the message was dropped."""

    unclaimed: int = 0
    """Nobody had subscribed (any more)."""

    flooded: int = 0
    """With QoS 0, and faster than they were handled; dropped."""


class Lane:
    """One subscription on its way to one handler."""

    def __init__(self, topic_filter: str, handler: Handler, *, identifier: int, counts: Counts) -> None:
        self.topic_filter = topic_filter
        self.identifier = identifier
        """MQTT 5 subscription identifier, 1 or more: says which of several matching filters a copy is for."""

        self._handler = handler
        self._counts = counts
        self._queue: asyncio.Queue[Delivery | None] = asyncio.Queue(DEPTH)

    async def offer(self, delivery: Delivery) -> None:
        """Queue a message; waits while the lane is full."""
        await self._queue.put(delivery)

    def close(self) -> None:
        """Drop what waits and end `work` after the message in hand."""
        while not self._queue.empty():
            self._queue.get_nowait()
        self._queue.put_nowait(None)

    async def work(self) -> None:
        """Hand each message to the handler until closed."""
        while (delivery := await self._queue.get()) is not None:
            await self._handle(delivery)

    async def _handle(self, delivery: Delivery) -> None:
        try:
            await self._handler(delivery)
        except ContractError as error:
            self._counts.broken += 1
            log.warning("dropped a message on %s: %s", delivery.topic, error)
        except HinterlandError as error:
            self._counts.failed += 1
            log.warning("a message on %s was not handled: %s", delivery.topic, error)
        except Exception:  # one bad message must not end the session of a whole device or fleet
            self._counts.failed += 1
            log.exception("the handler of %s failed", self.topic_filter)
        else:
            self._counts.handled += 1


class Lanes:
    """All subscriptions of one session, and the tasks that serve them."""

    def __init__(self) -> None:
        self.counts = Counts()
        self._by_filter: dict[str, Lane] = {}
        self._by_identifier: dict[int, Lane] = {}
        self._tasks: dict[Lane, asyncio.Task[None]] = {}
        self._running = False
        self._made = 0

    def add(self, topic_filter: str, handler: Handler) -> Lane:
        """Open a lane.

        Raises:
            ValueError: the filter has a handler already.
        """
        if topic_filter in self._by_filter:
            raise ValueError(f"{topic_filter} has a handler already")
        self._made += 1
        lane = Lane(topic_filter, handler, identifier=self._made, counts=self.counts)
        self._by_filter[topic_filter] = self._by_identifier[lane.identifier] = lane
        if self._running:
            self._start(lane)
        return lane

    def remove(self, topic_filter: str) -> Lane | None:
        """Close a lane; None if there was none."""
        lane = self._by_filter.pop(topic_filter, None)
        if lane is not None:
            del self._by_identifier[lane.identifier]
            lane.close()
        return lane

    def open(self) -> list[Lane]:
        """Every lane there is now."""
        return list(self._by_filter.values())

    async def offer(self, identifier: int, delivery: Delivery) -> None:
        """Queue a message for the subscription it came by."""
        lane = self._by_identifier.get(identifier)
        if lane is None:
            self.counts.unclaimed += 1
        else:
            await lane.offer(delivery)

    def start(self) -> None:
        """Serve every lane, also those added later."""
        self._running = True
        for lane in self.open():
            self._start(lane)

    async def stop(self) -> None:
        """Cancel the handlers in hand; what waits in the lanes is kept for the next `start`."""
        self._running = False
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, lane: Lane) -> None:
        task = asyncio.create_task(lane.work(), name=f"lane {lane.topic_filter}")
        self._tasks[lane] = task
        task.add_done_callback(lambda _: self._tasks.pop(lane, None))
