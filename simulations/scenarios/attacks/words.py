"""Read what devices say on their topics."""

from __future__ import annotations

from collections.abc import Iterable

from shared.codec import unpack
from shared.errors import ContractError
from shared.messages import Batch, Telemetry, UpdateStatus
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
