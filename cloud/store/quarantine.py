"""Strikes against devices, and who is left out of runs until an operator says otherwise."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection, select, update

from cloud.store.quarantine_tables import quarantine, strikes
from cloud.store.rows import columns, many, one


class Strike(msgspec.Struct, frozen=True, kw_only=True):
    """A round in which the gate refused what a device sent: the evidence."""

    device: str
    run: str
    round: int
    at: float
    check: str
    """What the gate looked at."""

    reason: str
    measured: str
    forgiven_at: float | None = None


class Quarantined(msgspec.Struct, frozen=True, kw_only=True):
    """A device that takes part in no run."""

    device: str
    since: float
    run: str
    """In which it had one strike too many."""

    reason: str
    """Of that strike."""

    released_at: float | None = None


class Quarantine:
    """Strikes and quarantine in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def strike(self, strike: Strike) -> bool:
        """Note a strike; False for a round that is told again, also if it was forgiven meanwhile."""
        where = (strikes.c.device == strike.device, strikes.c.run == strike.run, strikes.c.round == strike.round)
        if one(self._connection, select(strikes).where(*where), Strike) is not None:
            return False
        self._connection.execute(strikes.insert().values(**columns(strike)))
        return True

    def strikes(self, device: str | None = None) -> list[Strike]:
        """Strikes that count, oldest first: all, or those of one device."""
        query = select(strikes).where(strikes.c.forgiven_at.is_(None)).order_by(strikes.c.at, strikes.c.device)
        return many(self._connection, query if device is None else query.where(strikes.c.device == device), Strike)

    def put(self, held: Quarantined) -> None:
        """Quarantine a device."""
        where = quarantine.c.device == held.device
        if self._connection.execute(update(quarantine).where(where).values(**columns(held))).rowcount == 0:
            self._connection.execute(quarantine.insert().values(**columns(held)))

    def find(self, device: str) -> Quarantined | None:
        """The device's quarantine, or None."""
        query = select(quarantine).where(quarantine.c.device == device, quarantine.c.released_at.is_(None))
        return one(self._connection, query, Quarantined)

    def all(self) -> list[Quarantined]:
        """Who is quarantined, by name."""
        query = select(quarantine).where(quarantine.c.released_at.is_(None)).order_by(quarantine.c.device)
        return many(self._connection, query, Quarantined)

    def release(self, device: str, *, at: float) -> None:
        """Let a device take part again, and forgive its strikes."""
        mine = (quarantine.c.device == device, quarantine.c.released_at.is_(None))
        self._connection.execute(update(quarantine).where(*mine).values(released_at=at))
        open_ = (strikes.c.device == device, strikes.c.forgiven_at.is_(None))
        self._connection.execute(update(strikes).where(*open_).values(forgiven_at=at))
