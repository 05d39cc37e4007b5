"""Messages from code that must not wait for the disk: gathered here, written to the outbox together."""

from __future__ import annotations

import asyncio
import logging
from collections import deque

import msgspec

from edge.link.outbox import Outbox
from shared.codec import pack
from shared.errors import ContractError, FaultError
from shared.topics import Up

log = logging.getLogger(__name__)

GATHER_S = 0.2
"""Records of this long share one commit; a crash loses at most these, none of which had a number yet."""

MOST_WAITING = 4096
"""Messages held while the disk takes none; the oldest go, since memory is what inference needs."""


class Speaker:
    """Callable as an `Emit`; belongs to one event loop."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._waiting: deque[tuple[Up, bytes]] = deque(maxlen=MOST_WAITING)
        self.given_up = 0
        """Messages that never reached the outbox: too large to be sent, or too many while the disk failed."""

    def __call__(self, channel: Up, message: msgspec.Struct, /) -> None:
        """Take `message`; it is durable after the next flush."""
        self.given_up += len(self._waiting) == MOST_WAITING
        self._waiting.append((channel, pack(message)))

    async def flush(self) -> None:
        """Write what has gathered, in one commit; a message too large to be sent is given up, and counted.

        Raises:
            FaultError: the disk does not take it; it is gathered again.
        """
        items = list(self._waiting)
        self._waiting.clear()
        if not items:
            return
        try:
            await asyncio.to_thread(self._keep, items)
        except FaultError:
            self._waiting.extendleft(reversed(items))
            raise

    async def run(self) -> None:
        """Flush until cancelled."""
        while True:
            await asyncio.sleep(GATHER_S)
            try:
                await self.flush()
            except FaultError as error:
                log.warning("telemetry waits in memory: %s", error)

    def _keep(self, items: list[tuple[Up, bytes]]) -> None:
        try:
            self._outbox.extend(items)
        except ContractError:
            for item in items:  # one of them is too large: the others must not suffer for it
                self._keep_one(item)

    def _keep_one(self, item: tuple[Up, bytes]) -> None:
        try:
            self._outbox.append(*item)
        except ContractError as error:
            self.given_up += 1
            log.warning("a %s message is given up: %s", item[0], error)
