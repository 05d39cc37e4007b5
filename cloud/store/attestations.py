"""Attestations as they were signed: envelopes are kept whole, since a signature is over bytes."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection, select

from cloud.store.rows import columns, many
from cloud.store.tables import attestations


class AttestationRow(msgspec.Struct, frozen=True, kw_only=True):
    """One signed statement about a release."""

    release: str
    kind: str
    """`provenance`, `evaluation`, `parity` or `bom`."""

    attestor: str
    """Id of the key."""

    envelope: str
    """DSSE, JSON."""

    at: float


class Attestations:
    """Attestations in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, row: AttestationRow) -> None:
        """Keep one; nothing happens when this attestor has attested the same kind of the same release."""
        if not any((held.kind, held.attestor) == (row.kind, row.attestor) for held in self.of(row.release)):
            self._connection.execute(attestations.insert().values(**columns(row)))

    def of(self, release: str) -> list[AttestationRow]:
        """All of a release, by kind."""
        query = select(attestations).where(attestations.c.release == release)
        return many(self._connection, query.order_by(attestations.c.kind, attestations.c.attestor), AttestationRow)
