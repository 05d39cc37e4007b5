"""Read what devices say on their topics, and say the same."""

from __future__ import annotations

import time
from collections.abc import Iterable

from shared.codec import pack, unpack
from shared.errors import ContractError
from shared.ids import sha256
from shared.messages import Batch, Record, Telemetry, UpdateStatus
from shared.topics import Up
from simulations.scenarios.attacks.session import Heard


def batch_of(message: Heard) -> Batch | None:
    """The batch in a message, if it is one."""
    try:
        return unpack(message.payload, Batch)
    except ContractError:
        return None


def statuses_in(messages: Iterable[Heard]) -> list[UpdateStatus]:
    """Reports of updates, oldest first; a batch that was sent again counts once."""
    seen: dict[tuple[str, int], UpdateStatus] = {}
    for message in messages:
        batch = batch_of(message)
        for record in batch.records if batch else ():
            seen[batch.boot if batch else "", record.seq] = unpack(record.body, UpdateStatus)
    return list(seen.values())


def windows_in(messages: Iterable[Heard]) -> list[Telemetry]:
    """Telemetry windows, oldest first."""
    seen: dict[tuple[str, int], Telemetry] = {}
    for message in messages:
        batch = batch_of(message)
        for record in batch.records if batch else ():
            seen[batch.boot if batch else "", record.seq] = unpack(record.body, Telemetry)
    return list(seen.values())


def boot_of(text: str) -> str:
    """An outbox epoch that no other text has."""
    return sha256(text.encode())[:16]


def telemetry_batch(boot: str, *, first: int, count: int = 3, processed: int = 1) -> Batch:
    """What an honest outbox would send: `count` windows from number `first` on."""
    window = Telemetry(
        pipeline="made", model="made", release="made-1", since=time.time() - 1, until=time.time(),
        processed=processed, errors=0,
    )  # fmt: skip  # one look
    records = [Record(seq=first + n, at=float(first + n), body=pack(window)) for n in range(count)]
    return Batch(boot=boot, channel=Up.TELEMETRY, records=records)
