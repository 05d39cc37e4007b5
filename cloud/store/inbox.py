"""Records of devices, each stored exactly once, with a ledger of what was lost on the way."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec
from sqlalchemy import Connection, bindparam, func, select, update

from cloud.ingest.inbox import Arrival
from cloud.store.database import Database
from cloud.store.devices import Devices
from cloud.store.reports import Projection
from cloud.store.rows import batched, columns, many, write_all
from cloud.store.tables import inbox_heads, receipts
from shared.ids import DeviceId
from shared.messages import Record
from shared.topics import Up

_KEY = ("device", "boot", "channel")
_SAME = [inbox_heads.c[name] == bindparam(f"of_{name}") for name in _KEY]

# Built once: building one takes five times as long as executing it, and ten thousand devices have a lot to say.
_HEADS = select(inbox_heads).where(inbox_heads.c.device.in_(bindparam("devices", expanding=True)))
_ADD_HEAD, _CHANGE_HEAD = inbox_heads.insert(), update(inbox_heads).where(*_SAME)
_ADD_RECEIPTS = receipts.insert()
_KNOWN = select(receipts.c.seq).where(
    *[receipts.c[name] == bindparam(f"of_{name}") for name in _KEY],
    receipts.c.seq.between(bindparam("first"), bindparam("last")),
)

Watch = Callable[[Connection, Sequence[Arrival], float], None]


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """The ledger of one stream: a channel of a device since its outbox was made."""

    device: str
    boot: str
    channel: Up
    highest: int = 0
    """Newest `seq` stored, which is also how many records the device has sent."""

    stored: int = 0
    dropped: int = 0
    """Records the device says it gave up over its cap."""

    resent: int = 0
    """Arrivals of records that were here already, and were left as they are."""

    malformed: int = 0
    """Stored receipts whose body could not be read."""

    at: float = 0.0


class _Stream(NamedTuple):
    device: DeviceId
    boot: str
    channel: Up

    @property
    def key(self) -> dict[str, str]:
        """As parameters of the statements above."""
        return {f"of_{name}": value for name, value in zip(_KEY, self, strict=True)}


class SqlInbox:
    """The coordinator's inbox; implements `cloud.ingest.inbox.Inbox`."""

    def __init__(self, database: Database, *, watch: Watch = lambda _connection, _arrivals, _at: None) -> None:
        """`watch` looks at arrivals in the same transaction, before they are stored."""
        self._database = database
        self._watch = watch

    def store(self, arrivals: Sequence[Arrival], *, at: float) -> list[int]:
        streams: dict[_Stream, list[Arrival]] = defaultdict(list)
        for arrival in arrivals:
            streams[_Stream(arrival.device, arrival.batch.boot, arrival.batch.channel)].append(arrival)
        with self._database.write() as connection:
            self._watch(connection, arrivals, at)
            highest = _store(connection, streams, at)
            Devices(connection).seen({stream.device for stream in streams}, at)
        return [highest[_Stream(device, batch.boot, batch.channel)] for device, batch in arrivals]


def _store(connection: Connection, streams: Mapping[_Stream, Sequence[Arrival]], at: float) -> dict[_Stream, int]:
    """Store a group, one statement for each table; return the highest durable `seq` of each stream."""
    before = _heads(connection, streams)
    projection = Projection(connection, {stream.device for stream in streams}, at=at)
    rows: list[dict[str, object]] = []
    after: dict[_Stream, Head] = {}
    for stream, arrivals in sorted(streams.items()):
        head = before.get(stream) or Head(**stream._asdict())
        sent = [record for arrival in arrivals for record in arrival.batch.records]
        new = _unseen(connection, stream, {record.seq: record for record in reversed(sent)}, highest=head.highest)
        rows += [stream._asdict() | {"seq": r.seq, "at": r.at, "received_at": at} for r in new]
        after[stream] = msgspec.structs.replace(
            head,
            highest=max([head.highest, *(record.seq for record in new)]),
            stored=head.stored + len(new),
            dropped=max([head.dropped, *(arrival.batch.dropped for arrival in arrivals)]),
            resent=head.resent + len(sent) - len(new),
            malformed=head.malformed + projection.add(stream.device, stream.channel, new),
            at=at,
        )
    projection.write()
    write_all(connection, _ADD_RECEIPTS, rows)
    write_all(connection, _ADD_HEAD, [columns(head) for stream, head in after.items() if stream not in before])
    known = [stream.key | columns(head) for stream, head in after.items() if stream in before]
    write_all(connection, _CHANGE_HEAD, known)
    return {stream: head.highest for stream, head in after.items()}


def _heads(connection: Connection, streams: Iterable[_Stream]) -> dict[_Stream, Head]:
    """The ledgers of those streams that have one."""
    wanted, found = set(streams), {}
    for names in batched(sorted({stream.device for stream in wanted})):
        for head in many(connection, _HEADS, Head, {"devices": list(names)}):
            stream = _Stream(DeviceId(head.device), head.boot, head.channel)
            if stream in wanted:
                found[stream] = head
    return found


def _unseen(connection: Connection, stream: _Stream, records: Mapping[int, Record], *, highest: int) -> list[Record]:
    """Those without a receipt, by `seq`; none beyond `highest` has one."""
    seen: set[int] = set()
    if records and min(records) <= highest:
        bounds = {"first": min(records), "last": max(records)}
        seen = set(connection.scalars(_KNOWN, stream.key | bounds))
    return [records[seq] for seq in sorted(records) if seq not in seen]


def heads(connection: Connection) -> list[Head]:
    """The ledger of every stream."""
    order = (inbox_heads.c.device, inbox_heads.c.channel, inbox_heads.c.at)
    return many(connection, select(inbox_heads).order_by(*order), Head)


def stored_twice(connection: Connection) -> int:
    """Receipts beyond the first of each (device, boot, channel, seq), counted rather than assumed."""
    name = (receipts.c.device, receipts.c.boot, receipts.c.channel, receipts.c.seq)
    distinct = select(*name).distinct().subquery()
    held = connection.scalar(select(func.count()).select_from(receipts)) or 0
    return int(held) - int(connection.scalar(select(func.count()).select_from(distinct)) or 0)
