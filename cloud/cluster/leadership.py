"""Hold the lease, renew it, notice when it is somebody else's; and the fence that every write of a leader passes."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Protocol

from sqlalchemy import Connection

from cloud.audit.log import AuditLog
from cloud.cluster.lease import LOOP, FencedError, Holder, Lease, decide, given_up, permits
from cloud.store.database import Database, server_time
from cloud.store.events import Events
from cloud.store.leases import Leases
from shared.clock import Clock
from shared.errors import HinterlandError

log = logging.getLogger(__name__)

BEATS = 4
"""Renewals in the life of a lease: three may fail before another replica takes it."""


class Term(Protocol):
    """What a turn of the loop asks before it begins and before each step."""

    def begin(self) -> bool:
        """Bind what follows to the present lease; whether there is one."""
        ...

    def lasts(self) -> bool:
        """Whether that lease is still the one, as far as this process knows without asking the database."""
        ...


class Alone:
    """The term of a coordinator that shares with nobody."""

    def begin(self) -> bool:
        return True

    def lasts(self) -> bool:
        return True


class Leadership:
    """One replica's view of the lease; safe to use from several threads.

    `turn` is called `BEATS` times in the life of a lease, apart from the loop, whose steps may take longer than that.
    """

    def __init__(self, database: Database, *, holder: Holder, clock: Clock, lease_s: float) -> None:
        self._database = database
        self._holder = holder
        self._clock = clock
        self._lease_s = lease_s
        self._lock = threading.Lock()
        self._token = 0
        """Of the lease that we hold; 0 for none."""

        self._renewed = float("-inf")
        """When the renewal that counts was asked for, monotonic seconds."""

        self._acting = 0
        """Of the turn under way: what began under one lease does not go on under another."""

        self._other = ""

    @property
    def every_s(self) -> float:
        """Seconds between two calls of `turn`."""
        return self._lease_s / BEATS

    @property
    def health(self) -> str:
        """Who leads, for people."""
        token = self._held()
        if token:
            return f"ok: leads (token {token})"
        return f"ok: follows {self._other}" if self._other else "waits for the lease of an earlier leader to end"

    def turn(self) -> bool:
        """Renew the lease, take it if it is free, or follow; whether we lead.

        Raises:
            FaultError: the database failed; without a renewal the lease ends by itself.
        """
        asked = self._clock.monotonic()
        with self._database.read() as connection:
            held, at = Leases(connection).find(LOOP), self._now(connection)
        wanted = decide(held, self._holder, at=at, lease_s=self._lease_s)
        if wanted is not None:
            held, wanted = self._write()
        with self._lock:
            lost, before = self._token, self._other
            if wanted is None:
                self._token, self._other = 0, held.replica if held is not None else ""
            else:
                self._token, self._renewed, self._other = wanted.token, asked, ""
                lost = lost if lost != wanted.token else 0
        if wanted is None and held is not None:
            self._say(held, lost=lost, before=before)
        return wanted is not None

    async def run(self, *, changed: Callable[[], None]) -> None:
        """Renew, take or follow until cancelled; `changed` is called when we have come to lead."""
        led = False
        while True:
            try:
                leads = await asyncio.to_thread(self.turn)
            except HinterlandError as error:
                log.warning("the lease was not looked at: %s", error)
                leads = False
            if leads and not led:
                changed()
            led = leads
            await asyncio.sleep(self.every_s)

    def begin(self) -> bool:
        self._acting = self._held()
        return self._acting != 0

    def lasts(self) -> bool:
        return self._acting != 0 and self._acting == self._held()

    def fence(self, connection: Connection) -> None:
        """Refuse the transaction unless the turn under way still has the lease; writers queue, so that stays true.

        Raises:
            FencedError: it has not.
        """
        held, at = Leases(connection).find(LOOP), self._now(connection)
        if not permits(held, self._holder, token=self._acting, at=at):
            raise FencedError(
                f"this coordinator does not lead any more (token {self._acting}, now {held.token if held else 0})",
                hint="Nothing was written; the leader does it.",
            )

    def check(self) -> None:
        """The fence for what is written outside of the database, right before it is.

        Raises:
            FencedError: somebody else leads.
            FaultError: the database does not answer.
        """
        with self._database.read() as connection:
            self.fence(connection)

    def release(self) -> None:
        """Leave in good order, so that the next leader need not wait."""
        token = self._held()
        with self._lock:
            self._token = self._acting = 0
        if not token:
            return
        try:
            with self._database.write() as connection:
                held = Leases(connection).find(LOOP)
                if held is not None and held.holder == self._holder and held.token == token:
                    Leases(connection).put(given_up(held, at=self._now(connection)))
        except HinterlandError as error:
            log.info("the lease was not given back and ends by itself: %s", error)

    def _write(self) -> tuple[Lease | None, Lease | None]:
        """Decide once more, now that nobody else writes; the lease before and the one after."""
        with self._database.write() as connection:
            held, at = Leases(connection).find(LOOP), self._now(connection)
            wanted = decide(held, self._holder, at=at, lease_s=self._lease_s)
            if wanted is not None:
                Leases(connection).put(wanted)
                if held is None or held.token != wanted.token:
                    self._tell_taken(connection, held, wanted)
        return held, wanted

    def _held(self) -> int:
        """Our token while the lease lasts by our own monotonic clock; 0 after a freeze, whatever the row says."""
        with self._lock:
            return self._token if self._clock.monotonic() - self._renewed < self._lease_s else 0

    def _now(self, connection: Connection) -> float:
        at = server_time(connection)
        return self._clock.now() if at is None else at

    def _tell_taken(self, connection: Connection, held: Lease | None, taken: Lease) -> None:
        text = f"{taken.replica} leads (token {taken.token})"
        before = {"replica": held.replica, "token": held.token} if held is not None else {}
        self._tell(connection, "leader.taken", text, before=before, after=taken)

    def _say(self, held: Lease, *, lost: int, before: str) -> None:
        """Put on record that we step down, and in the log whom we follow."""
        if before != held.replica:
            log.info("follows %s (token %d)", held.replica, held.token)
        if lost:
            text = f"{self._holder.replica} steps down: it had token {lost}, {held.replica} has {held.token}"
            with self._database.write() as connection:
                before_ = {"replica": self._holder.replica, "token": lost}
                self._tell(connection, "leader.stepped-down", text, before=before_, after=held)

    def _tell(self, connection: Connection, kind: str, text: str, *, before: dict[str, object], after: Lease) -> None:
        at, name = self._clock.now(), self._holder.replica
        after_ = {"replica": after.replica, "token": after.token}
        Events(connection).add(kind, name, text, at=at, **after_)
        AuditLog(connection).add(
            at=at, actor=f"coordinator {name}", action=kind, subject=LOOP, reason=text, before=before, after=after_
        )
        log.info("%s", text)
