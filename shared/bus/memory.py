"""The bus without a network: a broker in this process, with a switch for each fault a real one can have.

It mirrors mosquitto where that matters: a forbidden subscription is granted and then stays silent, a forbidden
publication is accepted and dropped, and a session that ends takes its subscriptions and its queue with it. Of those
who share a subscription each has its turn, whether it may read the message or not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

from shared.bus import Delivery, Handler
from shared.bus.lanes import Counts, Lane, Lanes
from shared.errors import TransportError
from shared.topics import matches, split_share

Allow = Callable[[str, str, str], bool]
"""(identity, `read` or `write`, topic) → whether it may."""

OnTheWay = Callable[[str, Delivery], Sequence[Delivery]]
"""(receiver, message) → what arrives: nothing when lost, two when doubled, another one when tampered with."""

QUEUE = 1000
"""Messages that wait for one client; the rest is dropped, as with mosquitto's `max_queued_messages`."""


class MemoryBroker:
    """Routes between the buses made by `bus`; all must live in one event loop."""

    def __init__(self, *, allow: Allow = lambda _identity, _access, _topic: True) -> None:
        self.allow = allow
        self.on_the_way: OnTheWay = lambda _receiver, delivery: [delivery]
        self.retained: dict[str, bytes] = {}
        self.up = True
        self._online: dict[str, MemoryBus] = {}
        self._cut: set[str] = set()
        self._turns: dict[str, int] = {}
        self._changed = asyncio.Event()

    def bus(self, identity: str) -> MemoryBus:
        """A bus for `identity`, which stands for the common name of its certificate."""
        return MemoryBus(self, identity)

    def cut(self, identity: str) -> None:
        """Break the link of one client and keep it broken."""
        self._cut.add(identity)
        self._end(identity)

    def restore(self, identity: str) -> None:
        """Let a client that was cut connect again."""
        self._cut.discard(identity)
        self._wake()

    def stop(self) -> None:
        """Die, and forget every session and every retained message."""
        self.up = False
        self.retained.clear()
        for identity in list(self._online):
            self._end(identity)

    def start(self) -> None:
        """Come back, empty."""
        self.up = True
        self._wake()

    async def _admit(self, bus: MemoryBus) -> None:
        while not self.up or bus.identity in self._cut:
            await self._changed.wait()
        if (first := self._online.get(bus.identity)) is not None and first is not bus and first.connected:
            first._taken_over += 1
        self._end(bus.identity)  # a second session of one identity ends the first
        self._online[bus.identity] = bus

    def _end(self, identity: str) -> None:
        bus = self._online.pop(identity, None)
        if bus is not None:
            bus._lost.set()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _publish(self, sender: str, topic: str, payload: bytes, retain: bool) -> None:
        if not self.allow(sender, "write", topic):
            return
        if retain and payload:
            self.retained[topic] = payload
        elif retain:
            self.retained.pop(topic, None)
        sharing: dict[str, list[tuple[MemoryBus, Lane]]] = {}
        for bus in list(self._online.values()):
            for lane in bus._lanes.open():
                group, topic_filter = split_share(lane.topic_filter)
                if not group:
                    self._route(bus, lane, Delivery(topic, payload))
                elif matches(topic_filter, topic):
                    sharing.setdefault(lane.topic_filter, []).append((bus, lane))
        for name, members in sharing.items():
            turn = self._turns[name] = self._turns.get(name, -1) + 1
            self._route(*members[turn % len(members)], Delivery(topic, payload))

    def _subscribed(self, bus: MemoryBus, lane: Lane) -> None:
        for topic, payload in list(self.retained.items()):
            self._route(bus, lane, Delivery(topic, payload, retained=True))

    def _route(self, bus: MemoryBus, lane: Lane, delivery: Delivery) -> None:
        _, topic_filter = split_share(lane.topic_filter)
        if matches(topic_filter, delivery.topic) and self.allow(bus.identity, "read", delivery.topic):
            for arriving in self.on_the_way(bus.identity, delivery):
                bus._arrive(lane, arriving)


class MemoryBus:
    """The twin of `shared.bus.mqtt.MqttBus`; made by `MemoryBroker.bus`."""

    def __init__(self, broker: MemoryBroker, identity: str) -> None:
        self.identity = identity
        self._broker = broker
        self._lanes = Lanes()
        self._lost = asyncio.Event()
        self._arrived: asyncio.Queue[tuple[int, Delivery]] = asyncio.Queue(QUEUE)
        self._connected = False
        self._sessions = 0
        self._taken_over = 0
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def connected(self) -> bool:
        return self._connected and not self._lost.is_set()

    @property
    def sessions(self) -> int:
        return self._sessions

    @property
    def taken_over(self) -> int:
        return self._taken_over

    def reopen(self) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._lost.set)

    @property
    def counts(self) -> Counts:
        """What became of the messages that arrived."""
        return self._lanes.counts

    def on(self, topic_filter: str, handler: Handler) -> None:
        lane = self._lanes.add(topic_filter, handler)
        if self.connected:
            self._broker._subscribed(self, lane)

    async def off(self, topic_filter: str) -> None:
        self._lanes.remove(topic_filter)

    async def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> None:
        await asyncio.sleep(0)
        if not self.connected:
            raise TransportError("not connected to the broker", hint="The session reconnects by itself.")
        self._broker._publish(self.identity, topic, payload, retain)

    async def run(self) -> None:
        self._lanes.start()
        self._loop = asyncio.get_running_loop()
        try:
            while True:
                await self._session()
        finally:
            self._connected = False
            if self._broker._online.get(self.identity) is self:
                del self._broker._online[self.identity]
            await self._lanes.stop()

    def _arrive(self, lane: Lane, delivery: Delivery) -> None:
        with suppress(asyncio.QueueFull):
            self._arrived.put_nowait((lane.identifier, delivery))

    async def _session(self) -> None:
        await self._broker._admit(self)
        self._lost = asyncio.Event()
        self._arrived = asyncio.Queue(QUEUE)
        self._connected = True
        self._sessions += 1
        for lane in self._lanes.open():
            self._broker._subscribed(self, lane)
        pump = asyncio.create_task(self._pump(), name=f"pump {self.identity}")
        try:
            await self._lost.wait()
        finally:
            self._connected = False
            if self._broker._online.get(self.identity) is self:
                del self._broker._online[self.identity]
            pump.cancel()
            await asyncio.gather(pump, return_exceptions=True)

    async def _pump(self) -> None:
        while True:
            identifier, delivery = await self._arrived.get()
            await self._lanes.offer(identifier, delivery)
