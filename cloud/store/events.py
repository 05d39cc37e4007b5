"""What happened, in order, for people: a timeline with increasing ids."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, select

from cloud.store.rows import many, write_all
from cloud.store.tables import events


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the timeline."""

    id: int
    at: float
    kind: str
    """Dotted, for example `rollout.wave`."""

    subject: str
    """What it is about: a device, run, release or rollout."""

    text: str
    data: dict[str, Any] = {}


_ADD = events.insert()  # built once, see `cloud.store.inbox`


class Events:
    """The timeline in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, kind: str, subject: str, text: str, *, at: float, **data: Any) -> None:
        """Append; part of the same transaction as what it tells, so that neither exists without the other."""
        row = {"at": at, "kind": kind, "subject": subject, "text": text, "data": data}
        self._connection.execute(_ADD, row)

    def add_all(self, rows: Sequence[dict[str, Any]]) -> None:
        """Append rows of `at`, `kind`, `subject`, `text` and `data`, in their order."""
        write_all(self._connection, _ADD, rows)

    def after(self, last: int, *, limit: int = 500, subjects: Collection[str] | None = None) -> list[Event]:
        """Events with an id above `last`, oldest first; about `subjects` only, if they are given."""
        query = select(events).where(events.c.id > last).order_by(events.c.id).limit(limit)
        return many(self._connection, query if subjects is None else query.where(events.c.subject.in_(subjects)), Event)
