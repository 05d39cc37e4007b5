"""From the bus to the inbox: check, commit many devices' batches together, acknowledge."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from cloud.ingest.contract import ACKNOWLEDGED, arrival
from cloud.ingest.inbox import Arrival, Inbox
from shared import topics
from shared.bus import Bus, Delivery
from shared.clock import Clock
from shared.codec import pack
from shared.errors import HinterlandError, TransportError
from shared.messages import Ack
from shared.topics import Down

log = logging.getLogger(__name__)

GROUP = 256
"""Most batches in one commit: a commit costs one fsync, whatever it holds."""


class Ingest:
    """Whatever is not acknowledged comes again, so every failure here is only a delay."""

    def __init__(self, bus: Bus, inbox: Inbox, *, clock: Clock, group: str = "") -> None:
        """Replicas of one `group` share what arrives; each batch may reach any of them, and after a resend several."""
        self._bus = bus
        self._inbox = inbox
        self._clock = clock
        self._waiting: asyncio.Queue[Arrival] = asyncio.Queue(GROUP)
        self.commits = 0
        self.batches = 0
        """Batches committed, also those that brought nothing new."""

        self.poisoned = 0
        """Batches that the inbox could not digest; they come again, and somebody must look into the log."""

        for channel in ACKNOWLEDGED:
            bus.on(topics.shared_up(channel, group=group), self._arrived)

    async def run(self) -> None:
        """Commit until cancelled."""
        while True:
            await self.commit_once()

    async def commit_once(self) -> int:
        """Wait for a batch, commit it with all others that wait, acknowledge; return how many were committed."""
        group = [await self._waiting.get()]
        while len(group) < GROUP and not self._waiting.empty():
            group.append(self._waiting.get_nowait())
        return await self._commit(group)

    async def _commit(self, group: Sequence[Arrival]) -> int:
        try:
            durable = await asyncio.to_thread(self._inbox.store, group, at=self._clock.now())
        except HinterlandError as error:
            log.warning("%d batches were not committed and will come again: %s", len(group), error)
            return 0
        except Exception:  # one batch that breaks the inbox must not hold back all other devices
            return await self._one_by_one(group)
        self.commits += 1
        self.batches += len(group)
        await self._acknowledge(group, durable)
        return len(group)

    async def _one_by_one(self, group: Sequence[Arrival]) -> int:
        if len(group) == 1:
            self.poisoned += 1
            log.exception("the inbox failed on a batch of %s", group[0].device)
            return 0
        return sum([await self._commit([each]) for each in group])

    async def _arrived(self, delivery: Delivery) -> None:
        await self._waiting.put(arrival(delivery.topic, delivery.payload))

    async def _acknowledge(self, group: Sequence[Arrival], durable: Sequence[int]) -> None:
        acks = {
            (device, batch.boot, batch.channel): Ack(boot=batch.boot, channel=batch.channel, seq=seq)
            for (device, batch), seq in zip(group, durable, strict=True)
        }
        sending = [self._bus.publish(topics.down(key[0], Down.ACK), pack(ack)) for key, ack in acks.items()]
        for outcome in await asyncio.gather(*sending, return_exceptions=True):
            if isinstance(outcome, TransportError):
                log.info("an acknowledgement was not sent, the batch will come again: %s", outcome)
            elif isinstance(outcome, BaseException):
                raise outcome
