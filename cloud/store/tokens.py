"""One-time enrolment tokens; of their secrets only the digest is kept."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection, select, update

from cloud.store.rows import columns, many, one
from cloud.store.tables import enrolment_tokens as tokens


class TokenRow(msgspec.Struct, frozen=True, kw_only=True):
    """The right to enrol one device, once."""

    id: str
    secret_sha256: str
    fleet: str
    device: str
    """Name that its user will get."""

    created_at: float
    expires_at: float
    used_at: float | None = None
    used_by: str = ""
    """SHA-256 of the public key (DER) that used it; empty until then."""

    key_sha256: str = ""
    """The only public key that may use it, named in the same way; empty for any."""

    labels: dict[str, str] = {}
    """What the device will be called by from its first moment."""


class Tokens:
    """Tokens in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, token: TokenRow) -> None:
        self._connection.execute(tokens.insert().values(**columns(token)))

    def find(self, identifier: str) -> TokenRow | None:
        """The token, or None."""
        return one(self._connection, select(tokens).where(tokens.c.id == identifier), TokenRow)

    def all(self) -> list[TokenRow]:
        """Every token, oldest first."""
        return many(self._connection, select(tokens).order_by(tokens.c.created_at, tokens.c.id), TokenRow)

    def take(self, identifier: str, *, key: str, at: float) -> bool:
        """Use a token up for the public key with digest `key`; whether that key holds it now.

        The update is the decision: it matches only an unused token, so the database serialises the race, and a
        transaction that fails later gives the token back by rolling back. The key that won may come again, because
        the answer to its first request may have been lost.
        """
        unused = update(tokens).where(tokens.c.id == identifier, tokens.c.used_at.is_(None))
        if self._connection.execute(unused.values(used_at=at, used_by=key)).rowcount == 1:
            return True
        return bool(self._connection.scalar(select(tokens.c.used_by).where(tokens.c.id == identifier)) == key)
