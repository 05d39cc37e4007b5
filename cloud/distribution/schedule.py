"""Which chunk to publish next, and for whom: pure bookkeeping of what was asked for and when it last went out."""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from shared.bundle import CHUNK_SIZE
from shared.ids import Digest


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """Chunk `index` of the blob `digest`, as it is sent to all who listen in one form."""

    digest: Digest
    index: int
    form: str = ""
    """Level of the topic, see `shared.forms.form_name`; empty for plain bytes."""

    base: str = ""
    """Blob that those who listen hold; empty for none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """How one fleet is served."""

    weight: int = 1
    """Chunks for each one of a fleet with weight 1, while both wait."""

    rate: float | None = None
    """Most bytes a second; None for as many as the link takes."""

    open: bool = True
    """Whether it is served at all just now."""


class Taken(NamedTuple):
    """What is to be published now, and on whose account."""

    key: Key
    lane: str


@dataclass(slots=True)
class _Queue:
    """The requests of one fleet."""

    lane: Lane = Lane()
    due: list[tuple[float, int, Key]] = field(default_factory=list)
    waiting: dict[Key, int] = field(default_factory=dict)
    """Each with the number of its entry in `due`; other entries are of chunks that went out for another fleet."""

    turn: float = 0.0
    """Chunks it was served so far, by weight: the least is served next."""

    free_at: float = 0.0
    """When its rate lets the next chunk go."""


@dataclass(slots=True)
class _Flow:
    """A blob that is asked for, or on its way."""

    opened: float
    start: float
    last: float
    """When it was last asked for or sent."""


class Schedule:
    """First asked, first sent within a fleet; each chunk and form at most once in `quiet_s`, whoever asks how often.

    A wave of devices asks within moments of each other. The first request for a blob waits for company: until nobody
    has joined for `calm_s`, and at most `gather_s`.
    A device that asks for the first time for a chunk that left within `transit_s` will find it among what the broker
    still holds for it; one that asks again has lost it, and is put off until `quiet_s` after the last copy, so that
    all stragglers share the next. The coordinator's egress is therefore bounded by time, not by the number of devices.

    Between fleets the one that was served least for its weight comes next (stride scheduling: Waldspurger and Weihl,
    MIT/LCS/TM-528, 1995), so that none waits for ever. A rate is kept as a virtual schedule (ITU-T I.371): each chunk
    says when the next may leave.
    """

    def __init__(
        self, *, gather_s: float, quiet_s: float, most: int, transit_s: float = 0.0, calm_s: float | None = None
    ) -> None:
        self._gather_s = gather_s
        self._calm_s = gather_s if calm_s is None else calm_s
        self._quiet_s = quiet_s
        self._transit_s = transit_s
        self._most = most
        self._queues: dict[str, _Queue] = {}
        self._lanes: Mapping[str, Lane] = {}
        self._sent: OrderedDict[Key, float] = OrderedDict()
        self._askers: dict[Key, set[str]] = {}  # of what waits or may be on its way
        self._flowing: OrderedDict[tuple[Digest, str], _Flow] = OrderedDict()
        self._asked = 0
        self._turn = 0.0

    def __len__(self) -> int:
        return sum(len(queue.waiting) for queue in self._queues.values())

    def arrange(self, lanes: Mapping[str, Lane]) -> None:
        """Serve fleets as `lanes` says from now on, and all others without preference or bound."""
        self._lanes = lanes
        for fleet, queue in self._queues.items():
            queue.lane = lanes.get(fleet, Lane())

    def ask(self, keys: Iterable[Key], *, at: float, fleet: str = "", device: str = "") -> int:
        """Note a request at `at` (monotonic seconds); return how many of its chunks found no room."""
        queue = self._queue(fleet)
        turned_away, room = 0, self._most - len(self)
        for key in keys:
            sent = self._sent.get(key)
            if key in queue.waiting:
                self._askers[key].add(device)
                self._starts(key, at)
                continue
            if sent is not None and self._comes(key, device, at - sent):
                continue
            if room <= 0:
                turned_away += 1
                continue
            room -= 1
            self._asked += 1
            queue.waiting[key] = self._asked
            self._askers.setdefault(key, set()).add(device)
            quiet_until = at if sent is None else sent + self._quiet_s
            heapq.heappush(queue.due, (max(self._starts(key, at), quiet_until), self._asked, key))
        return turned_away

    def take(self, *, at: float) -> Taken | None:
        """The next chunk that is due at `at`, now considered sent; None when none is."""
        ready = [(queue.turn, fleet) for fleet, queue in self._queues.items() if self._is_ready(queue, at)]
        if not ready:
            return None
        self._turn, fleet = min(ready)
        queue = self._queues[fleet]
        key = queue.due[0][2]
        queue.turn += 1 / queue.lane.weight
        if queue.lane.rate is not None:
            queue.free_at = at + CHUNK_SIZE / queue.lane.rate
        self._note_sent(key, at)
        return Taken(key, fleet)

    def settle(self, fleet: str, size: int, *, at: float) -> None:
        """What was taken for `fleet` came to `size` bytes: less than a whole chunk lets the next one go sooner."""
        queue = self._queues.get(fleet)
        if queue is not None and queue.lane.rate is not None:
            back = max(0, CHUNK_SIZE - size) / queue.lane.rate
            queue.free_at -= min(back, max(0.0, queue.free_at - at))

    def puts_off(self, fleet: str, *, beyond_s: float) -> bool:
        """Whether what `fleet` asks for may wait longer than that: it is shut, or its rate is low."""
        queue = self._queues.get(fleet)
        if queue is None or not queue.waiting:
            return False
        rate = queue.lane.rate
        return not queue.lane.open or (rate is not None and len(queue.waiting) * CHUNK_SIZE / rate > beyond_s)

    def wait_s(self, *, at: float) -> float | None:
        """Seconds from `at` until something is due; None when nothing is asked for, or all who asked are shut."""
        times = [time for queue in self._queues.values() if (time := self._next_at(queue)) is not None]
        return max(0.0, min(times) - at) if times else None

    def _comes(self, key: Key, device: str, since_s: float) -> bool:
        """Whether a chunk that left so long ago is still on its way to whoever asks for it now."""
        askers = self._askers.setdefault(key, set())
        again = device in askers
        askers.add(device)
        return not again and since_s < self._transit_s

    def _queue(self, fleet: str) -> _Queue:
        queue = self._queues.get(fleet)
        if queue is None:
            queue = self._queues[fleet] = _Queue(lane=self._lanes.get(fleet, Lane()))
        if not queue.waiting:  # whoever asked for nothing saved up nothing
            queue.turn = max(queue.turn, self._turn)
        return queue

    def _starts(self, key: Key, at: float) -> float:
        """When the blob of `key`, asked for at `at`, begins to flow: at once when it does already."""
        blob = (key.digest, key.form)
        flow = self._flowing.get(blob)
        if flow is None or at - flow.last >= self._quiet_s:
            flow = self._flowing[blob] = _Flow(opened=at, start=at + self._gather_s, last=at)
        if at < flow.start:
            flow.start = min(flow.opened + self._gather_s, at + self._calm_s)
        flow.last = at
        self._flowing.move_to_end(blob)
        return max(flow.start, at)

    def _next_at(self, queue: _Queue) -> float | None:
        """When the next chunk of a fleet may go; None for none, or while it is shut."""
        while queue.due:
            due, number, key = queue.due[0]
            flow = self._flowing.get((key.digest, key.form))
            if queue.waiting.get(key) != number:
                heapq.heappop(queue.due)
            elif flow is not None and flow.start > due:  # somebody has joined since
                heapq.heapreplace(queue.due, (flow.start, number, key))
            else:
                return max(due, queue.free_at) if queue.lane.open else None
        return None

    def _is_ready(self, queue: _Queue, at: float) -> bool:
        time = self._next_at(queue)
        return time is not None and time <= at

    def _note_sent(self, key: Key, at: float) -> None:
        for queue in self._queues.values():  # one copy serves every fleet
            queue.waiting.pop(key, None)
        self._sent[key] = at
        self._sent.move_to_end(key)
        blob = (key.digest, key.form)
        if blob in self._flowing:
            self._flowing[blob].last = at
            self._flowing.move_to_end(blob)
        while next(iter(self._sent.values())) + max(self._quiet_s, self._transit_s) <= at:
            forgotten, _ = self._sent.popitem(last=False)
            if not any(forgotten in queue.waiting for queue in self._queues.values()):
                self._askers.pop(forgotten, None)
        while self._flowing and next(iter(self._flowing.values())).last + self._quiet_s <= at:
            self._flowing.popitem(last=False)
