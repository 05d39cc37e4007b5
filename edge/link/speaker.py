"""Messages from code that must not wait for the disk: gathered here, written to the outbox together."""

from __future__ import annotations

import asyncio
import logging

import msgspec

from edge.link.outbox import Outbox
from shared.codec import pack
from shared.errors import HinterlandError
from shared.topics import Up

log = logging.getLogger(__name__)

GATHER_S = 0.2
"""Records of this long share one commit; a crash loses at most these, none of which had a number yet."""


class Speaker:
    """Callable as an `Emit`; belongs to one event loop."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._waiting: list[tuple[Up, bytes]] = []

    def __call__(self, channel: Up, message: msgspec.Struct, /) -> None:
        """Take `message`; it is durable after the next flush."""
        self._waiting.append((channel, pack(message)))

    async def flush(self) -> None:
        """Write what has gathered, in one commit.

        Raises:
            FaultError: the disk does not take it; it is gathered again.
        """
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        try:
            await asyncio.to_thread(self._outbox.extend, waiting)
        except HinterlandError:
            self._waiting = [*waiting, *self._waiting]
            raise

    async def run(self) -> None:
        """Flush until cancelled."""
        while True:
            await asyncio.sleep(GATHER_S)
            try:
                await self.flush()
            except HinterlandError as error:
                log.warning("telemetry waits in memory: %s", error)
