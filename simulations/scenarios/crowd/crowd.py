"""The virtual devices: they read what is signed, do what it says in their own time, and want each word acknowledged.

They share one session with the broker, which therefore lets this session speak for all; a broker of a real fleet lets
nobody do so. What is signed is proven once, by a real trust client, on behalf of all.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random

from edge.link.retained import RetainedFiles
from shared import topics
from shared.bundle import FleetDesired, encode
from shared.bus import Bus, Delivery
from shared.codec import pack, unpack
from shared.errors import TransportError
from shared.ids import DeviceId, FleetId
from shared.messages import Ack, Batch, Record
from shared.topics import Down, Up
from shared.trust import TrustClient
from simulations.scenarios.crowd.behaviour import Saying, Wish, course, telemetry, wishes

AGAIN_S = 30.0
"""Seconds without an acknowledgement after which a batch is sent again."""

SPEAKERS = 12
"""Batches on their way to the broker at once."""

BROKER_BYTES_S = 200e6
"""What a broker on this kind of machine sends over mutual TLS: a new signed state does not reach everybody at once."""

TURN_S = 0.05
"""Seconds until a device looks again whether its last batch has been acknowledged."""

LATE_S = 1.0


@dataclass(slots=True)
class Device:
    """What a virtual device remembers."""

    name: DeviceId
    random: Random
    boot: str
    serving: str = ""
    wish: Wish = field(default_factory=Wish)
    told: dict[Up, int] = field(default_factory=dict)
    """Channel → records said so far."""

    free_at: float = 0.0
    """Monotonic seconds at which it has said all that it had to say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A batch that was sent and not acknowledged."""

    sent: float
    topic: str
    payload: bytes
    again: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """One acknowledgement."""

    at: float
    """Unix seconds."""

    seconds: float
    """From the publication of the batch."""

    channel: Up


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A desired state as it arrived."""

    at: float
    size: int
    devices: int
    """With a word of their own."""


class Crowd:
    """All virtual devices. Belongs to one event loop."""

    def __init__(
        self,
        names: Sequence[str],
        *,
        bus: Bus,
        files: RetainedFiles,
        trust: TrustClient,
        fleet: FleetId,
        telemetry_s: float,
        seed: int,
        pace: float = 1.0,
    ) -> None:
        """`telemetry_s` are the seconds between two telemetry windows of a device; `pace` stretches all delays."""
        self.devices = {
            name: Device(
                name=DeviceId(name),
                random=Random(f"{seed}:{name}"),  # noqa: S311  a simulation
                boot=f"{index:016x}",
            )
            for index, name in enumerate(names)
        }
        self.failing: Mapping[str, frozenset[str]] = {}
        """Release → devices on which it breaks."""

        self.answered: list[Answered] = []
        self.wanted: list[Wanted] = []
        self.again = 0
        """Batches sent a second time."""

        self.sent = 0
        self.late = 0
        """Batches that left a second or more after they were due: this process was too slow, not the coordinator."""

        self._bus, self._files, self._trust, self._fleet = bus, files, trust, fleet
        self._telemetry_s = telemetry_s
        self._pace = pace
        self._due: list[tuple[float, int, DeviceId, Saying]] = []
        self._number = itertools.count()
        self._waiting: defaultdict[tuple[str, Up], dict[int, Waiting]] = defaultdict(dict)
        self._more = asyncio.Event()
        self._seen = FleetDesired(fleet=fleet)
        bus.on(topics.down(DeviceId("+"), Down.ACK), self._acknowledged)

    async def run(self) -> None:
        """Live until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow(), name="follow")
            group.create_task(self._send_again(), name="again")
            group.create_task(self._work(), name="work")
            for number in range(SPEAKERS):
                group.create_task(self._speak(), name=f"speaker-{number}")

    @property
    def quiet(self) -> bool:
        """Whether everybody has said all and heard of it, but for what is said all the time."""
        return not self.unanswered and all(saying.channel is Up.TELEMETRY for *_, saying in self._due)

    @property
    def unanswered(self) -> int:
        """Batches of updates and comparisons that nobody has acknowledged."""
        return sum(len(batches) for (_, channel), batches in self._waiting.items() if channel is not Up.TELEMETRY)

    async def _follow(self) -> None:
        seen = -1
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await self._files.wait_change(seen)
            seen = self._files.generation
            try:
                document = await asyncio.to_thread(self._read)
            except TransportError:
                await asyncio.sleep(0.05)  # a file of this version has not come yet
                seen = -1
                continue
            if document != self._seen:
                self._obey(document)

    def _read(self) -> FleetDesired:
        self._trust.refresh()
        return self._trust.desired(self._fleet)

    def _obey(self, document: FleetDesired) -> None:
        self._seen, wanted = document, wishes(document)
        size = len(encode(document))
        self.wanted.append(Wanted(at=time.time(), size=size, devices=len(wanted)))
        for device in self.devices.values():
            wish = wanted.get(device.name) or Wish(serves=next(iter(document.default.values()), ""))
            if wish != device.wish:
                self._plan(device, wish, within_s=size * len(self.devices) / BROKER_BYTES_S)

    def _plan(self, device: Device, wish: Wish, *, within_s: float) -> None:
        """Queue what a device will say of a wish that it hears of within some seconds."""
        fails = device.name in self.failing.get(wish.serves, frozenset())
        sayings = course(device.wish, wish, serving=device.serving, fails=fails, random=device.random, at=time.time())
        at = max(time.monotonic() + device.random.random() * within_s * self._pace, device.free_at)
        for saying in sayings:
            at += saying.after_s * self._pace
            self._put(at, device.name, saying)
        if wish.serves and not fails:
            device.serving = wish.serves
        device.wish, device.free_at = wish, at

    def _put(self, at: float, name: DeviceId, saying: Saying) -> None:
        heapq.heappush(self._due, (at, next(self._number), name, saying))
        self._more.set()

    async def _work(self) -> None:
        """Everybody's everyday telemetry, spread evenly."""
        pause = self._telemetry_s / max(1, len(self.devices))
        for name in itertools.cycle(self.devices):
            device = self.devices[name]
            if device.serving:
                said = telemetry(device.serving, random=device.random, at=time.time())
                self._put(time.monotonic(), device.name, Saying(after_s=0.0, channel=Up.TELEMETRY, bodies=(said,)))
            await asyncio.sleep(pause)

    async def _speak(self) -> None:
        while True:
            now = time.monotonic()
            if not self._due or self._due[0][0] > now:
                self._more.clear()
                wait = min(0.02, self._due[0][0] - now) if self._due else 0.02
                with suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await self._more.wait()
                continue
            due, _, name, saying = heapq.heappop(self._due)
            if self._waiting[name, saying.channel]:  # an outbox sends in its order, and waits for each answer
                self._put(now + TURN_S, name, saying)
                continue
            self.late += now - due > LATE_S
            await self._say(self.devices[name], saying)

    async def _say(self, device: Device, saying: Saying) -> None:
        first = device.told.get(saying.channel, 0) + 1
        at = time.time()
        records = [Record(seq=first + index, at=at, body=pack(body)) for index, body in enumerate(saying.bodies)]
        last = device.told[saying.channel] = records[-1].seq
        payload = pack(Batch(boot=device.boot, channel=saying.channel, records=records))
        topic = topics.up(device.name, saying.channel)
        waiting = Waiting(sent=time.monotonic(), topic=topic, payload=payload, again=False)
        self._waiting[device.name, saying.channel][last] = waiting
        self.sent += 1
        with suppress(TransportError):  # it will be sent again
            await self._bus.publish(topic, payload)

    async def _acknowledged(self, delivery: Delivery) -> None:
        ack, name = unpack(delivery.payload, Ack), delivery.topic.split("/")[3]
        batches = self._waiting[name, ack.channel]
        for last in [last for last in batches if last <= ack.seq]:  # one word may answer several batches
            waiting = batches.pop(last)
            if not waiting.again:
                took = time.monotonic() - waiting.sent
                self.answered.append(Answered(at=time.time(), seconds=took, channel=ack.channel))

    async def _send_again(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            now = time.monotonic()
            for batches in list(self._waiting.values()):
                for last, waiting in [item for item in batches.items() if now - item[1].sent > AGAIN_S]:
                    self.again += 1
                    batches[last] = Waiting(sent=now, topic=waiting.topic, payload=waiting.payload, again=True)
                    with suppress(TransportError):
                        await self._bus.publish(waiting.topic, waiting.payload)
