"""What changes without the API: settings of the process, and keys and roles of the release repository.

Whoever has the coordinator's directory changes these while no coordinator runs, or with keys that never come here; the
next coordinator finds what is different from the log's newest word, and says so in a row of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec

from cloud.audit.log import AuditLog
from cloud.release.repository import Repository
from cloud.settings import Settings
from cloud.store.database import Database, public_url
from shared.clock import Clock

ACTOR = "host"
"""Whoever has the directory."""


def note_settings(database: Database, settings: Settings, *, at: float) -> None:
    """Have the log say what this coordinator was told, if it is something new."""
    said = msgspec.to_builtins(settings)
    if settings.store.url:
        said["store"]["url"] = public_url(settings.store.url)
    _note(database, "settings.apply", settings.directory, said, at=at, reason="the coordinator was started with these")


@dataclass(slots=True, kw_only=True)
class TrustKeeper:
    """Keeps the log in step with the repository."""

    database: Database
    repository: Repository
    clock: Clock
    _seen: int = field(default=0, init=False)

    def turn(self) -> None:
        """Have the log say who may sign what, if that is something new.

        Raises:
            TrustError: the repository was altered on disk.
            FaultError: a disk failed.
        """
        version = self.repository.timestamp_version
        if version == self._seen:
            return
        heads = self.repository.heads()
        root, delegations = heads.root.signed, heads.targets.signed.delegations
        delegated = (delegations.roles or {}) if delegations else {}
        roles = {**root.roles, **delegated}
        said = {
            "root": root.version,
            "roles": {name: {"keys": sorted(role.keyids), "threshold": role.threshold} for name, role in roles.items()},
        }
        _note(self.database, "trust.roles", "repository", said, at=self.clock.now(), reason="as signed by the root")
        self._seen = version

    def renew(self) -> None:
        """Sign again what is half way to its end, and say what was signed.

        Raises:
            HinterlandError: as for `Repository.renew`.
        """
        done = self.repository.renew()
        if done.signed:
            with self.database.write() as connection:
                AuditLog(connection).add(
                    at=self.clock.now(),
                    actor="coordinator",
                    action="trust.renew",
                    subject="repository",
                    reason="half of their life is over",
                    after={"signed": done.signed, "waiting": done.waiting},
                )


def _note(database: Database, action: str, subject: str, said: dict[str, Any], *, at: float, reason: str) -> None:
    with database.write() as connection:
        log = AuditLog(connection)
        newest = log.newest(action)
        before = newest.after if newest else {}
        if before != said:
            log.add(at=at, actor=ACTOR, action=action, subject=subject, reason=reason, before=before, after=said)
