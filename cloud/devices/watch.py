"""Watches what devices send for signs that two of them share one identity.

A device that restarts, resends, loses an answer or loses its outbox shows none of these; what each sign is, and why,
is in `cloud.devices.succession`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import Connection, bindparam, select, update

from cloud.devices.alarm import OnClone, raise_alarm
from cloud.devices.succession import RETURNS, TAKEOVERS, Epoch, Evidence, hear
from cloud.ingest.inbox import Arrival
from cloud.store.devices import Devices
from cloud.store.rows import batched, write_all
from cloud.store.tables import epochs, inbox_heads, receipts

_THIS = (
    epochs.c.device == bindparam("of_device"),
    epochs.c.channel == bindparam("of_channel"),
    epochs.c.boot == bindparam("of_boot"),
)

# built once, see `cloud.store.inbox`
_HEADS = select(inbox_heads.c.device, inbox_heads.c.boot, inbox_heads.c.channel, inbox_heads.c.highest).where(
    inbox_heads.c.device.in_(bindparam("devices", expanding=True))
)
_EPOCHS = select(epochs).where(epochs.c.device.in_(bindparam("devices", expanding=True)))
_ADD, _CHANGE = epochs.insert(), update(epochs).where(*_THIS)


class CloneWatch:
    """Part of the inbox's transaction: looks at batches before they are stored."""

    def __init__(self, *, on_clone: OnClone) -> None:
        self._on_clone = on_clone

    def __call__(self, connection: Connection, arrivals: Sequence[Arrival], at: float) -> None:
        """Raise an alarm where a batch shows that its device's identity is in two places."""
        past = _Past(connection, {arrival.device for arrival in arrivals})
        for arrival in arrivals:
            evidence = past.hear(arrival)
            if evidence is not None and (device := Devices(connection).find(arrival.device)) is not None:
                raise_alarm(connection, device, evidence, at=at, on_clone=self._on_clone)
        past.write()


class _Past:
    """What was heard of a group of devices before: read, continued and written with one statement for each table."""

    def __init__(self, connection: Connection, devices: Collection[str]) -> None:
        self._connection = connection
        self._highest: dict[tuple[str, str, str], int] = {}
        self._epochs: dict[tuple[str, str, str], Epoch] = {}
        self._turns: dict[tuple[str, str], int] = {}
        for names in batched(sorted(devices)):
            for device, boot, channel, highest in connection.execute(_HEADS, {"devices": list(names)}):
                self._highest[device, boot, channel] = highest
            for row in connection.execute(_EPOCHS, {"devices": list(names)}):
                epoch = self._epochs[row.device, row.boot, row.channel] = Epoch(turn=row.turn, returned=row.returned)
                here = (row.device, row.channel)
                self._turns[here] = max(self._turns.get(here, 0), epoch.turn)
        self._before = dict(self._epochs)

    def hear(self, arrival: Arrival) -> Evidence | None:
        """Take a batch in; what it shows, if it shows anything."""
        batch = arrival.batch
        stream = (arrival.device, batch.boot, batch.channel.value)
        highest = self._highest.get(stream, 0)
        self._highest[stream] = max(highest, batch.records[-1].seq)
        if batch.taken_over >= TAKEOVERS:
            return Evidence.SESSIONS
        if batch.records[0].seq <= highest and _differs(self._connection, arrival):
            return Evidence.RECORDS
        if batch.records[-1].seq > highest and self._continue(stream).returned >= RETURNS:
            return Evidence.EPOCHS
        return None

    def write(self) -> None:
        """Put on record which epochs have spoken."""
        added, changed = [], []
        for (device, boot, channel), epoch in self._epochs.items():
            before = self._before.get((device, boot, channel))
            said = {"turn": epoch.turn, "returned": epoch.returned}
            if before is None:
                added.append({"device": device, "boot": boot, "channel": channel} | said)
            elif before != epoch:
                changed.append({"of_device": device, "of_boot": boot, "of_channel": channel} | said)
        write_all(self._connection, _ADD, added)
        write_all(self._connection, _CHANGE, changed)

    def _continue(self, stream: tuple[str, str, str]) -> Epoch:
        """The batch's epoch after it said something new."""
        here = (stream[0], stream[2])
        turn = self._turns.get(here, 0)
        heard = self._epochs[stream] = hear(self._epochs.get(stream), turn=turn)
        self._turns[here] = max(turn, heard.turn)
        return heard


def _differs(connection: Connection, arrival: Arrival) -> bool:
    """Whether a record was stored under the same number with another time of writing: an outbox writes each once."""
    batch = arrival.batch
    same = (receipts.c.device == arrival.device, receipts.c.boot == batch.boot, receipts.c.channel == batch.channel)
    numbers = receipts.c.seq.between(batch.records[0].seq, batch.records[-1].seq)
    known = {row.seq: row.at for row in connection.execute(select(receipts.c.seq, receipts.c.at).where(*same, numbers))}
    return any(known.get(record.seq, record.at) != record.at for record in batch.records)
