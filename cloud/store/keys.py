"""Operators' API keys; of each only a hash is kept."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection, select, update

from cloud.store.rows import columns, many, one
from cloud.store.tables import api_keys


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """Who may operate the coordinator."""

    digest: str
    """What the key is looked up by: SHA-256 of its public id, or for keys from before there were ids of the whole."""

    name: str
    created_at: float
    revoked_at: float | None = None
    hash: str = ""
    """Argon2id of the secret; empty for keys from before, whose digest proves them."""

    roles: list[str] = msgspec.field(default_factory=lambda: ["admin"])
    fleets: list[str] = msgspec.field(default_factory=lambda: ["*"])
    expires_at: float | None = None
    used_at: float | None = None
    """When it was last used, to the minute."""

    def good(self, *, at: float) -> bool:
        """Whether it opens anything at `at`, Unix seconds."""
        return self.revoked_at is None and (self.expires_at is None or at < self.expires_at)


class ApiKeys:
    """Keys in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, key: ApiKey) -> None:
        self._connection.execute(api_keys.insert().values(**columns(key)))

    def find(self, digest: str) -> ApiKey | None:
        """The key that is looked up by `digest`, good or not, or None."""
        return one(self._connection, select(api_keys).where(api_keys.c.digest == digest), ApiKey)

    def named(self, name: str) -> ApiKey | None:
        """The key of that name, good or not, or None."""
        return one(self._connection, select(api_keys).where(api_keys.c.name == name), ApiKey)

    def all(self) -> list[ApiKey]:
        """Every key by name."""
        return many(self._connection, select(api_keys).order_by(api_keys.c.name), ApiKey)

    def used(self, digest: str, *, at: float) -> None:
        """Note when a key was used."""
        self._connection.execute(update(api_keys).where(api_keys.c.digest == digest).values(used_at=at))

    def revoke(self, name: str, *, at: float) -> bool:
        """Take the key out of use; False if there is no such key in use."""
        held = update(api_keys).where(api_keys.c.name == name, api_keys.c.revoked_at.is_(None))
        return self._connection.execute(held.values(revoked_at=at)).rowcount == 1
