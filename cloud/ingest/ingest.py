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

LINGER_S = 0.005
"""Seconds that a batch waits for others: at a thousand a second that spares a third of what storing it costs."""

Durable = tuple[Arrival, int]
"""A batch that was committed, and the highest durable `seq` of its stream."""


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

        self.commit_s = 0.0
        """Seconds spent in commits."""

        self.lag_s = 0.0
        """Age of the oldest record of the newest commit, by its device's clock."""

        for channel in ACKNOWLEDGED:
            bus.on(topics.shared_up(channel, group=group), self._arrived)

    @property
    def waiting(self) -> int:
        """Batches that no commit has taken up yet."""
        return self._waiting.qsize()

    async def run(self) -> None:
        """Commit until cancelled. While one group is acknowledged the next one is committed, and no more than that."""
        async with asyncio.TaskGroup() as tasks:
            before: asyncio.Task[None] | None = None
            while True:
                durable = await self._commit(await self._group())
                if before is not None:
                    await before
                before = tasks.create_task(self._acknowledge(durable), name="acknowledge")

    async def commit_once(self) -> int:
        """Wait for a batch, commit it with all others that wait, acknowledge; return how many were committed."""
        durable = await self._commit(await self._group())
        await self._acknowledge(durable)
        return len(durable)

    async def _group(self) -> list[Arrival]:
        """What is committed together: a batch and those that come within `LINGER_S` of it."""
        group = [await self._waiting.get()]
        await asyncio.sleep(LINGER_S)
        while len(group) < GROUP and not self._waiting.empty():
            group.append(self._waiting.get_nowait())
        return group

    async def _commit(self, group: Sequence[Arrival]) -> list[Durable]:
        """What was committed, and up to which record."""
        began = self._clock.monotonic()
        try:
            highest = await asyncio.to_thread(self._inbox.store, group, at=self._clock.now())
        except HinterlandError as error:
            log.warning("%d batches were not committed and will come again: %s", len(group), error)
            return []
        except Exception:  # one batch that breaks the inbox must not hold back all other devices
            return await self._one_by_one(group)
        self.commit_s += self._clock.monotonic() - began
        oldest = min((each.batch.records[0].at for each in group if each.batch.records), default=self._clock.now())
        self.lag_s = max(self._clock.now() - oldest, 0.0)  # a device's clock may be ahead of ours
        self.commits += 1
        self.batches += len(group)
        return list(zip(group, highest, strict=True))

    async def _one_by_one(self, group: Sequence[Arrival]) -> list[Durable]:
        if len(group) == 1:
            self.poisoned += 1
            log.exception("the inbox failed on a batch of %s", group[0].device)
            return []
        return [durable for each in group for durable in await self._commit([each])]

    async def _arrived(self, delivery: Delivery) -> None:
        await self._waiting.put(arrival(delivery.topic, delivery.payload))

    async def _acknowledge(self, committed: Sequence[Durable]) -> None:
        acks = {
            (device, batch.boot, batch.channel): Ack(boot=batch.boot, channel=batch.channel, seq=seq)
            for (device, batch), seq in committed
        }
        sending = [self._bus.publish(topics.down(key[0], Down.ACK), pack(ack)) for key, ack in acks.items()]
        for outcome in await asyncio.gather(*sending, return_exceptions=True):
            if isinstance(outcome, TransportError):
                log.info("an acknowledgement was not sent, the batch will come again: %s", outcome)
            elif isinstance(outcome, BaseException):
                raise outcome
