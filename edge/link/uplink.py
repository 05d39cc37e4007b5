"""Bring the outbox to the coordinator: publish, wait for its acknowledgement, forget."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass

import msgspec

from edge.link.outbox import CHANNELS, Outbox
from shared import topics
from shared.bus import Bus, Delivery
from shared.clock import Clock
from shared.codec import pack, unpack
from shared.errors import HinterlandError
from shared.ids import DeviceId
from shared.messages import Ack
from shared.topics import Down, Up

log = logging.getLogger(__name__)

RESEND_S = 10.0
"""An acknowledgement normally comes within a second; a coordinator under load must not be asked again by thousands."""

POLL_S = 0.5
"""How long a record that was appended by somebody else may wait to be noticed."""


@dataclass(frozen=True, slots=True)
class _Underway:
    """The one batch of a channel that waits for its acknowledgement."""

    last: int
    at: float
    session: int


class Uplink:
    """One batch per channel at a time: the coordinator then needs no reordering, and neither side a window."""

    def __init__(self, bus: Bus, outbox: Outbox, *, device: DeviceId, clock: Clock, resend_s: float = RESEND_S) -> None:
        self._bus = bus
        self._outbox = outbox
        self._device = device
        self._clock = clock
        self._resend_s = resend_s
        self._underway: dict[Up, _Underway] = {}
        self._wake = asyncio.Event()
        bus.on(topics.down(device, Down.ACK), self._acknowledged)

    async def say(self, channel: Up, message: msgspec.Struct) -> int:
        """Keep a message until it is acknowledged; return its sequence number.

        Raises:
            FaultError: the disk did not take it.
        """
        seq = await asyncio.to_thread(self._outbox.append, channel, pack(message))
        self._wake.set()
        return seq

    async def deliver_once(self) -> int:
        """Publish what is due, one batch a channel; return how many batches that were.

        Raises:
            TransportError: no session; what was not sent stays.
            FaultError: the outbox cannot be read.
        """
        due = [channel for channel in CHANNELS if self._due(channel)]
        for channel in due:
            await self._send(channel)
        return len(due)

    async def run(self) -> None:
        """Deliver until cancelled."""
        while True:
            self._wake.clear()
            if self._bus.connected:
                try:
                    await self.deliver_once()
                except HinterlandError as error:
                    log.info("nothing delivered: %s", error)
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_S):  # `wait_for` of Python 3.11 may swallow a cancellation
                    await self._wake.wait()

    def _due(self, channel: Up) -> bool:
        underway = self._underway.get(channel)
        if underway is not None and underway.session == self._bus.sessions:
            return self._clock.monotonic() - underway.at >= self._resend_s
        return self._outbox.ledger(channel).pending > 0

    async def _send(self, channel: Up) -> None:
        batch = await asyncio.to_thread(self._outbox.batch, channel)
        if batch is None:
            self._underway.pop(channel, None)
            return
        # before the publication: its acknowledgement may come before the PUBACK does
        self._underway[channel] = _Underway(batch.records[-1].seq, self._clock.monotonic(), self._bus.sessions)
        batch = msgspec.structs.replace(batch, taken_over=self._bus.taken_over)
        await self._bus.publish(topics.up(self._device, channel), pack(batch))

    async def _acknowledged(self, delivery: Delivery) -> None:
        ack = unpack(delivery.payload, Ack)
        await asyncio.to_thread(self._outbox.acknowledge, ack)
        underway = self._underway.get(ack.channel)
        if underway is not None and ack.boot == self._outbox.epoch and ack.seq >= underway.last:
            del self._underway[ack.channel]
            self._wake.set()
