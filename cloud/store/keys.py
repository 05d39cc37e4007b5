"""Operators' API keys; only their digests are kept."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection, select, update

from cloud.store.rows import columns, many, one
from cloud.store.tables import api_keys


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """Who may operate the coordinator."""

    digest: str
    name: str
    created_at: float
    revoked_at: float | None = None


class ApiKeys:
    """Keys in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, key: ApiKey) -> None:
        self._connection.execute(api_keys.insert().values(**columns(key)))

    def valid(self, digest: str) -> ApiKey | None:
        """The unrevoked key with that digest, or None."""
        query = select(api_keys).where(api_keys.c.digest == digest, api_keys.c.revoked_at.is_(None))
        return one(self._connection, query, ApiKey)

    def all(self) -> list[ApiKey]:
        """Every key by name."""
        return many(self._connection, select(api_keys).order_by(api_keys.c.name), ApiKey)

    def revoke(self, name: str, *, at: float) -> bool:
        """Take the key out of use; False if there is no such key in use."""
        held = update(api_keys).where(api_keys.c.name == name, api_keys.c.revoked_at.is_(None))
        return self._connection.execute(held.values(revoked_at=at)).rowcount == 1
