"""API keys: what they look like, how they are kept, whom they name."""

from __future__ import annotations

import secrets

import msgspec

from cloud.audit.log import AuditLog
from cloud.store.database import Database
from cloud.store.keys import ApiKey, ApiKeys
from shared.errors import RefusedError
from shared.ids import Digest, check_name, sha256

PREFIX = "hlk_"
"""Lets secret scanners find a key that was pasted somewhere."""


class Principal(msgspec.Struct, frozen=True):
    """Who is asking."""

    name: str

    @property
    def actor(self) -> str:
        """The name in the audit log."""
        return f"operator:{self.name}"


class UnauthenticatedError(RefusedError):
    """No key, or none that we know."""


def new_key() -> str:
    """A key of 256 random bits."""
    return PREFIX + secrets.token_urlsafe(32)


def digest(key: str) -> Digest:
    """What is kept of a key.

    One fast hash is sound here: slow password hashes protect secrets that can be guessed, and 256 random bits cannot.
    """
    return sha256(key.encode())


def create(database: Database, name: str, *, at: float) -> str:
    """Make a key for `name` and return it; it cannot be shown again.

    Only whoever has the coordinator's directory can do this, which is what the audit log says.

    Raises:
        ContractError: not a name.
        RefusedError: there is a key of that name.
    """
    key = new_key()
    row = ApiKey(digest=digest(key), name=check_name(name, kind="key name"), created_at=at)
    with database.write() as connection:
        if any(held.name == name for held in ApiKeys(connection).all()):
            raise RefusedError(f"there is a key of {name!r} already", hint="Choose another name.")
        ApiKeys(connection).add(row)
        AuditLog(connection).add(at=at, actor="host", action="key.create", subject=name)
    return key


def authenticate(database: Database, header: str | None) -> Principal:
    """Who sent an `Authorization` header.

    Raises:
        UnauthenticatedError: it is missing, malformed or unknown.
    """
    hint = "Send `Authorization: Bearer <key>`; `hinterland-coordinator init` wrote the first key to cli.toml."
    scheme, _, key = (header or "").partition(" ")
    if scheme.lower() != "bearer" or not key:
        raise UnauthenticatedError("this request carries no API key", hint=hint)
    with database.read() as connection:
        # Looked up by digest: the comparison's timing tells nothing about the key itself.
        found = ApiKeys(connection).valid(digest(key.strip()))
    if found is None:
        raise UnauthenticatedError("this API key is unknown or was revoked", hint=hint)
    return Principal(found.name)
