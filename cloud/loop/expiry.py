"""Says in time that a role's metadata must be signed by keys that are not here, and loudly when it has expired.

Roles with online keys are renewed without anybody. Root and targets wait for a person with the offline keys; were
they forgotten, every device would stop taking updates, and go on serving.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from cloud.release.repository import Repository
from cloud.release.roles import due
from cloud.store.database import Database
from cloud.store.events import Events
from shared.clock import Clock
from shared.errors import RefusedError

GRACE_S = 3600.0
"""Online keys sign within minutes of the time; what is due for an hour waits for a person."""

REMEDY = "Bring the keys: `hinterland trust renew --offline-dir …`; `hinterland trust status` shows which."


@dataclass(slots=True, kw_only=True)
class ExpiryWatch:
    """Looks at what the renewal left over."""

    database: Database
    repository: Repository
    clock: Clock
    _told: frozenset[tuple[str, str]] = field(default=frozenset(), init=False)

    def turn(self) -> None:
        """Note on the timeline what is newly due or expired; to be called after the renewal.

        Raises:
            RefusedError: something is; it shows in the coordinator's health until it is signed.
        """
        now = self.clock.now()
        expires = {role: metadata.signed.expires for role, metadata in self.repository.heads().all().items()}
        found = {
            role: "expired" if at.timestamp() <= now else "due"
            for role, at in expires.items()
            if due(role, at, at=now - GRACE_S)
        }
        for role, state in sorted(set(found.items()) - self._told):
            word = "has expired: devices take no updates until" if state == "expired" else "must be signed again before"
            text = f"the metadata of {role} {word} " + ("it is signed" if state == "expired" else f"{expires[role]:%F}")
            with self.database.write() as connection:
                Events(connection).add(f"trust.{state}", role, text, at=now, expires=expires[role].timestamp())
        self._told = frozenset(found.items())
        if found:
            said = ", ".join(f"{role} ({state}, {expires[role]:%F})" for role, state in sorted(found.items()))
            raise RefusedError(f"signed metadata waits for its keys: {said}", hint=REMEDY)
