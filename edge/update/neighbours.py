"""The port to a site's other devices, which may have chunks nearby, and its in-memory twin."""

from __future__ import annotations

import asyncio
from typing import Protocol

from edge.update.partial import PartialFile
from shared.ids import Digest, sha256


class Neighbours(Protocol):
    """Asked before the coordinator is; `edge.relay` implements it."""

    async def fetch(self, partial: PartialFile) -> None:
        """Have `partial` accept what neighbours hold; returns after a bounded time, whatever they do.

        Raises:
            FaultError: this device's own disk failed.
        """
        ...


class MemoryNeighbours:
    """The twin: holds chunks of any origin."""

    def __init__(self, *chunks: bytes) -> None:
        self.chunks = {sha256(chunk): chunk for chunk in chunks}

    async def fetch(self, partial: PartialFile) -> None:
        for index in partial.missing:
            chunk = self.chunks.get(Digest(partial.variant.chunks[index].digest))
            if chunk is not None:
                await asyncio.to_thread(partial.accept, index, chunk)
