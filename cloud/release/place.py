"""What a ceremony works on: a coordinator's directory, its key ring with the offline keys, and its audit log."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloud.audit.anchors import AnchorFile, Anchoring
from cloud.audit.log import AuditLog
from cloud.keys import open_keys
from cloud.release.carried import CarriedKeys, where
from cloud.release.commit import Stamp
from cloud.release.keys import FileKeys, KeyRing
from cloud.release.repository import Repository
from cloud.release.sealed import Sealer
from cloud.settings import Settings, read_settings
from cloud.setup import open_sealer, open_state
from cloud.store.database import Database
from shared.clock import Clock, SystemClock
from shared.durable import read_if_present
from shared.errors import RefusedError

ACTOR = "host"
"""In the audit log: whoever can read the coordinator's directory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """An opened coordinator's directory, also while the coordinator runs: both take turns at the repository."""

    settings: Settings
    keys: KeyRing
    repository: Repository
    database: Database | None
    """None on a machine that has only the repository and keys."""

    clock: Clock
    offline: Path | None

    def where(self, name: str) -> str:
        """The directory of a key."""
        return where(name, keys=self.keys, directory=self.settings.layout.keys, offline=self.offline)

    @contextmanager
    def audited(self, action: str, subject: str, *, reason: str) -> Iterator[dict[str, Any]]:
        """Carry a ceremony out; what it puts into the dictionary goes on record, after it is done."""
        after: dict[str, Any] = {}
        yield after
        if self.database is not None and after:
            with self.database.write() as connection:
                AuditLog(connection).add(
                    at=self.clock.now(), actor=ACTOR, action=action, subject=subject, reason=reason, after=after
                )


@contextmanager
def opened(directory: Path, *, offline: Path | None = None, passphrase: Path | None = None) -> Iterator[Place]:
    """Open a coordinator's directory for a ceremony.

    Args:
        directory: of the coordinator.
        offline: where the offline keys are, if not in the key store.
        passphrase: file with what opens them, if it is not what opens the others.

    Raises:
        RefusedError: it is none, or holds no repository.
        TrustError: the repository was altered on disk.
    """
    settings, clock = read_settings(directory, os.environ), SystemClock()
    keys, database = open_with_offline(settings, offline=offline, passphrase=passphrase), _database(settings)
    stamp: Stamp = dict
    if database is not None:
        stamp = Anchoring(database=database, file=AnchorFile(settings.anchor_file), clock=clock).stamp
    try:
        repository = Repository.open(settings.layout.tuf, keys=keys, clock=clock, stamp=stamp)
        yield Place(
            settings=settings, keys=keys, repository=repository, database=database, clock=clock, offline=offline
        )
    finally:
        if database is not None:
            database.close()


def open_with_offline(settings: Settings, *, offline: Path | None, passphrase: Path | None) -> KeyRing:
    """The coordinator's key ring, and the offline keys wherever they are.

    Raises:
        RefusedError: there is no passphrase, or the settings of a ring are not complete.
    """
    sealer = open_sealer(settings)
    online = open_keys(settings, sealer=sealer)
    if offline is None:
        return online
    return CarriedKeys(online, FileKeys(offline, sealer=_sealer(passphrase) if passphrase else sealer))


def _sealer(path: Path) -> Sealer:
    secret = read_if_present(path)
    if not secret:
        raise RefusedError(f"no passphrase in {path}", hint="Name the file that opens the offline keys.")
    return Sealer(secret.strip())


def _database(settings: Settings) -> Database | None:
    there = settings.store.url or settings.layout.database.exists()
    return open_state(settings) if there else None
