"""What an update is worth that began from weights which are no longer the newest."""

from __future__ import annotations

import math

import msgspec

from shared.errors import ContractError

UNIT = 1 << 10
"""Weights are whole numbers, so that sums of updates are exact; 1/√(1 + τ) is rounded to a thousandth of an example."""


class Buffer(msgspec.Struct, frozen=True, kw_only=True):
    """How asynchronous training goes (FedBuff)."""

    size: int = 0
    """Updates for each move of the global model; 0 trains in synchronous rounds."""

    concurrency: int = 0
    """Devices that train at once."""

    staleness: int = 8
    """Updates that more than so many commits have overtaken are not taken."""

    rate: float = 1.0
    """The server's learning rate."""


def check_buffer(buffer: Buffer, *, members: int) -> None:
    """Raise `ContractError` unless training can go that way."""
    if buffer.size and not (buffer.size >= 1 <= buffer.concurrency <= members and buffer.rate > 0 <= buffer.staleness):
        raise ContractError(
            "the buffer is out of range",
            hint="A size of at least 1, a concurrency from 1 to the number of devices, a rate above 0.",
        )


def weight(examples: int, stale: int) -> int:
    """Weight of an update in the sum: examples / √(1 + stale), in thousandths (1/`UNIT`); at least one of them."""
    return max(round(UNIT * examples / math.sqrt(1 + stale)), 1)
