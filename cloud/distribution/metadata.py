"""Keep a tenant's signed files on the broker as retained messages, so that a device gets them as it connects."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from shared import topics
from shared.bus import Bus, Delivery
from shared.codec import pack
from shared.ids import Digest, FleetId, TenantId, sha256
from shared.messages import Desired


class MetadataPublisher:
    """Level-triggered: each turn makes the broker hold exactly the given files."""

    def __init__(self, bus: Bus, *, tenant: TenantId) -> None:
        self._bus = bus
        self._prefix = topics.tuf_all(tenant).removesuffix("#")
        self._published: dict[str, Digest] = {}
        self._held: set[str] = set()
        self._session = 0
        self.disturbed = False
        """Whether somebody else has published since: a former leader that was slow to notice."""

        bus.on(topics.tuf_all(tenant), self._heard)

    async def publish(self, files: Sequence[tuple[str, bytes]], *, fleets: Iterable[FleetId], timestamp: int) -> int:
        """Publish what the broker lacks, in the given order, then the pointer for each fleet; clear the rest.

        Args:
            files: (`metadata/<file>` or `targets/<path>`, bytes), the timestamp last.
            fleets: who is told to look.
            timestamp: version of the timestamp among `files`.

        Returns:
            How many messages were sent.

        Raises:
            TransportError: the session broke; the next turn goes on from here.
        """
        self._start_over_after_reconnect()
        if self.disturbed:  # pointers are not heard here; whoever came late sent those too
            self._published = {topic: held for topic, held in self._published.items() if topic in self._held}
            self.disturbed = False
        wanted = {self._prefix + name: data for name, data in files}
        pointers = {topics.desired(fleet): pack(Desired(timestamp=timestamp)) for fleet in fleets}
        sent = 0
        for topic, data in [*wanted.items(), *pointers.items()]:
            sent += await self._retain(topic, data)
        for topic in (self._held | self._published.keys()) - wanted.keys() - pointers.keys():
            await self._bus.publish(topic, b"", retain=True)
            self._published.pop(topic, None)
            self._held.discard(topic)
            sent += 1
        return sent

    async def _retain(self, topic: str, data: bytes) -> int:
        digest = sha256(data)
        if self._published.get(topic) == digest:
            return 0
        await self._bus.publish(topic, data, retain=True)
        self._published[topic] = digest
        return 1

    def _start_over_after_reconnect(self) -> None:
        if self._session != self._bus.sessions:  # the broker may be another one by now, or have forgotten
            self._session = self._bus.sessions
            self._published.clear()

    async def _heard(self, delivery: Delivery) -> None:
        """Learn what the broker holds, also from before this process, and whether it is still what we gave it."""
        known = self._published.get(delivery.topic)
        if known is not None and known != sha256(delivery.payload):
            del self._published[delivery.topic]
            self.disturbed = True
        if delivery.payload:
            self._held.add(delivery.topic)
        else:
            self._held.discard(delivery.topic)
