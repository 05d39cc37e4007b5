"""The coordinator's database, read from outside: asking the API for ten thousand devices would be a load of its own."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from cloud.layout import Layout
from cloud.loop.rollouts import RolloutKeeper
from cloud.release.repository import Repository
from cloud.store.database import open_database, sqlite_url
from cloud.store.devices import Device, DeviceState
from cloud.store.rows import columns
from cloud.store.tables import devices as devices_table
from shared.api import Event
from shared.clock import SystemClock

YEAR_S = 365 * 86_400.0


def enrol(layout: Layout, sites: Mapping[str, str], *, fleet: str, at: float) -> None:
    """Put devices into a database that no coordinator works on, as if each had enrolled."""
    database = open_database(sqlite_url(layout.database))
    rows = [
        Device(
            id=name,
            fleet=fleet,
            state=DeviceState.ENROLLED,
            hardware=["cpu"],
            runtimes=["onnxruntime"],
            public_key=name.encode(),
            serial=str(number + 1),
            expires_at=at + YEAR_S,
            enrolled_at=at,
            last_seen=at,
            labels={"site": site},
        )
        for number, (name, site) in enumerate(sites.items())
    ]
    with database.write() as connection:
        connection.execute(devices_table.insert(), [columns(row) for row in rows])
    database.close()


class Ledger:
    """Reads what is committed; never writes."""

    def __init__(self, database: Path) -> None:
        self._path = database

    def events(self, *, after: int = 0, rollouts_only: bool = True) -> list[Event]:
        """The timeline after an event, oldest first."""
        which = "kind LIKE 'rollout.%'" if rollouts_only else "kind LIKE 'rollout.%' OR kind LIKE 'update.rolled-back'"
        with closing(self._open()) as base:
            rows = base.execute(
                f"SELECT id, at, kind, subject, text, data FROM events WHERE id > ? AND ({which}) ORDER BY id",  # noqa: S608  our own words
                (after,),
            ).fetchall()
        return [
            Event(id=number, at=at, kind=kind, subject=subject, text=text, data=json.loads(data))
            for number, at, kind, subject, text, data in rows
        ]

    def serving(self) -> dict[str, int]:
        """Release → devices that last reported it active."""
        with closing(self._open()) as base:
            return dict(base.execute("SELECT serving, count(*) FROM device_status GROUP BY serving").fetchall())

    def size(self) -> int:
        """Bytes of the file and of what waits to go into it."""
        wal = self._path.with_name(self._path.name + "-wal")
        return self._path.stat().st_size + (wal.stat().st_size if wal.exists() else 0)

    def turn_ms(self, directory: Path, repository: Repository) -> float:
        """Milliseconds of the keeper's turn over a copy, the best of three."""
        copy = directory / "turn.sqlite"
        copy.unlink(missing_ok=True)
        with closing(self._open()) as base, closing(sqlite3.connect(copy)) as into:
            base.backup(into)
        database = open_database(sqlite_url(copy))
        keeper = RolloutKeeper(database=database, repository=repository, clock=SystemClock())
        keeper.turn()  # what is due happens here, so that the next ones change nothing
        took = []
        for _ in range(3):
            began = time.perf_counter()
            keeper.turn()
            took.append((time.perf_counter() - began) * 1e3)
        database.close()
        return min(took)

    def _open(self) -> sqlite3.Connection:
        return sqlite3.connect(f"file:{self._path}?mode=ro", uri=True)
