"""Watches what devices send for signs that two of them share one identity.

A device that restarts, resends, loses an answer or loses its outbox shows none of these; what each sign is, and why,
is in `cloud.devices.succession`.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, bindparam, func, select, update

from cloud.devices.alarm import OnClone, raise_alarm
from cloud.devices.succession import RETURNS, TAKEOVERS, Epoch, Evidence, hear
from cloud.ingest.inbox import Arrival
from cloud.store.devices import Devices
from cloud.store.rows import one
from cloud.store.tables import epochs, inbox_heads, receipts

_HEAD = [column == bindparam(f"of_{column.name}") for column in inbox_heads.primary_key.columns]
_HERE = (epochs.c.device == bindparam("of_device"), epochs.c.channel == bindparam("of_channel"))
_THIS = (*_HERE, epochs.c.boot == bindparam("of_boot"))

# built once, see `cloud.store.inbox`
_HIGHEST = select(inbox_heads.c.highest).where(*_HEAD)
_HELD, _TURN = select(epochs).where(*_THIS), select(func.max(epochs.c.turn)).where(*_HERE)
_ADD, _CHANGE = epochs.insert(), update(epochs).where(*_THIS)


class CloneWatch:
    """Part of the inbox's transaction: looks at batches before they are stored."""

    def __init__(self, *, on_clone: OnClone) -> None:
        self._on_clone = on_clone

    def __call__(self, connection: Connection, arrivals: Sequence[Arrival], at: float) -> None:
        """Raise an alarm where a batch shows that its device's identity is in two places."""
        highest: dict[tuple[str, str, str], int] = {}
        for arrival in arrivals:
            stream = (arrival.device, arrival.batch.boot, arrival.batch.channel.value)
            if stream not in highest:
                highest[stream] = _highest(connection, stream)
            evidence = _evidence(connection, arrival, highest[stream])
            highest[stream] = max(highest[stream], arrival.batch.records[-1].seq)
            if evidence is not None and (device := Devices(connection).find(arrival.device)) is not None:
                raise_alarm(connection, device, evidence, at=at, on_clone=self._on_clone)


def _evidence(connection: Connection, arrival: Arrival, highest: int) -> Evidence | None:
    if arrival.batch.taken_over >= TAKEOVERS:
        return Evidence.SESSIONS
    if arrival.batch.records[0].seq <= highest and _differs(connection, arrival):
        return Evidence.RECORDS
    if arrival.batch.records[-1].seq > highest and _heard(connection, arrival).returned >= RETURNS:
        return Evidence.EPOCHS
    return None


def _differs(connection: Connection, arrival: Arrival) -> bool:
    """Whether a record was stored under the same number with another time of writing: an outbox writes each once."""
    batch = arrival.batch
    same = (receipts.c.device == arrival.device, receipts.c.boot == batch.boot, receipts.c.channel == batch.channel)
    numbers = receipts.c.seq.between(batch.records[0].seq, batch.records[-1].seq)
    known = {row.seq: row.at for row in connection.execute(select(receipts.c.seq, receipts.c.at).where(*same, numbers))}
    return any(known.get(record.seq, record.at) != record.at for record in batch.records)


def _heard(connection: Connection, arrival: Arrival) -> Epoch:
    """The batch's epoch after it said something new, as it is now on record."""
    device, boot, channel = arrival.device, arrival.batch.boot, arrival.batch.channel.value
    here = {"of_device": device, "of_channel": channel}
    held = one(connection, _HELD, Epoch, here | {"of_boot": boot})
    turn = connection.scalar(_TURN, here) or 0
    heard = hear(held, turn=turn)
    values = {"turn": heard.turn, "returned": heard.returned}
    if held is None:
        connection.execute(_ADD, {"device": device, "channel": channel, "boot": boot} | values)
    elif heard != held:
        connection.execute(_CHANGE, here | {"of_boot": boot} | values)
    return heard


def _highest(connection: Connection, stream: tuple[str, str, str]) -> int:
    return connection.scalar(_HIGHEST, dict(zip(("of_device", "of_boot", "of_channel"), stream, strict=True))) or 0
