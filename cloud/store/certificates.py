"""Certificates that devices were given, until they expire; those that no longer count are on the revocation list."""

from __future__ import annotations

from sqlalchemy import Connection, select, update

from cloud.devices.succession import Certificate
from cloud.store.rows import columns, many, one
from cloud.store.tables import certificates

LINGER = 86_400.0
"""Seconds that an expired one stays on the list, for brokers whose clock is behind."""


class Certificates:
    """Certificates in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, certificate: Certificate) -> None:
        """Keep a new one; all others of its device are superseded."""
        self.supersede(certificate.device, at=certificate.issued_at)
        self._connection.execute(certificates.insert().values(**columns(certificate)))

    def find(self, serial: str) -> Certificate | None:
        """The certificate, or None."""
        return one(self._connection, select(certificates).where(certificates.c.serial == serial), Certificate)

    def present(self, serial: str, *, at: float) -> None:
        """Note that it vouched for the next one."""
        first = (certificates.c.serial == serial, certificates.c.presented_at.is_(None))
        self._connection.execute(update(certificates).where(*first).values(presented_at=at))

    def supersede(self, device: str, *, at: float) -> None:
        """Let none of a device's certificates count any more."""
        held = (certificates.c.device == device, certificates.c.superseded_at.is_(None))
        self._connection.execute(update(certificates).where(*held).values(superseded_at=at))

    def revoked(self, *, at: float) -> dict[int, float]:
        """Serial → since when, of those that a broker would otherwise take."""
        listed = (certificates.c.superseded_at.is_not(None), certificates.c.expires_at > at - LINGER)
        rows = many(self._connection, select(certificates).where(*listed), Certificate)
        return {int(row.serial): row.superseded_at for row in rows if row.superseded_at is not None}
