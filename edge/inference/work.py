"""Waiting for a thread that uses a leased session."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def to_its_end(work: asyncio.Future[T], *, late: Callable[[T], object] | None = None) -> T:
    """Await `work`; when cancelled, wait for its thread first, which still uses a leased session, and tell `late`."""
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait([work])
        if work.exception() is None and late is not None:
            late(work.result())
        raise
