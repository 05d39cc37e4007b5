"""One-time enrolment tokens; only their digests are kept."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection, select, update

from cloud.store.rows import columns, many, one
from cloud.store.tables import enrolment_tokens as tokens
from shared.errors import RefusedError


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """The right to enrol one device, once."""

    digest: str
    """SHA-256 of the secret."""

    fleet: str
    device: str = ""
    """The only device that may use it; any for an empty name."""

    created_at: float
    expires_at: float
    used_at: float | None = None
    used_by: str = ""


class Tokens:
    """Tokens in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, token: Token) -> None:
        self._connection.execute(tokens.insert().values(**columns(token)))

    def all(self) -> list[Token]:
        """Every token, oldest first."""
        return many(self._connection, select(tokens).order_by(tokens.c.created_at), Token)

    def take(self, digest: str, *, device: str, at: float) -> Token:
        """Use a token up; of any number of tries at once exactly one succeeds.

        The update is the decision: it matches only an unused, unexpired token, so the database serialises the
        race, and a transaction that fails later gives the token back by rolling back.

        Raises:
            RefusedError: unknown, used, expired, or meant for another device.
        """
        usable = (tokens.c.digest == digest, tokens.c.used_at.is_(None), tokens.c.expires_at > at)
        meant = tokens.c.device.in_(("", device))
        taken = self._connection.execute(update(tokens).where(*usable, meant).values(used_at=at, used_by=device))
        found = one(self._connection, select(tokens).where(tokens.c.digest == digest), Token)
        if taken.rowcount != 1 or found is None:
            raise RefusedError(
                f"the enrolment token {_flaw(found, device, at)}",
                hint="Make a new one: `hinterland token create`.",
            )
        return found


def _flaw(token: Token | None, device: str, at: float) -> str:
    if token is None:
        return "is unknown"
    if token.used_at is not None:
        return "was used already"
    if token.expires_at <= at:
        return "has expired"
    return f"is not meant for {device!r}"
